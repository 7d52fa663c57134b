"""Recipes: everything that decides a run's result."""
