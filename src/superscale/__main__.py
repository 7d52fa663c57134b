"""``python -m superscale``, and the `superscale` command itself."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line; until it is imported, Ctrl-C ends the process as it ends others, without a word."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from superscale.cli.main import main as run

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
