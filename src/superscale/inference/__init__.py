"""Picture -> bigger picture."""
