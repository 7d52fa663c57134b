"""Commands: parse, one call, print. Nothing heavy is imported before a command runs."""
