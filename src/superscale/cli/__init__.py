"""The command line. A command imports torch and numpy only when it runs, so that --help answers at once."""
