"""``python -m superscale``: the same as the `superscale` command."""

from superscale.cli.main import main

if __name__ == "__main__":
    main()
