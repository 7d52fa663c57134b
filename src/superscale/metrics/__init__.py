"""Pure functions that compare pictures; range, border and colour are required arguments."""
