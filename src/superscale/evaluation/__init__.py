"""How good is it? Pure functions; range, border and colour are required arguments."""
