"""``python -m superscale``, and the `superscale` command itself."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line; until it is imported, Ctrl-C ends the process as it ends others, without a word.

    So do all signals once it has ended: what they would raise in the interpreter's own end is printed as a traceback.
    """
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from superscale.cli.main import main as run

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    finally:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    main()
