"""``python -m superscale``."""

from superscale.cli.main import main

if __name__ == "__main__":
    main()
