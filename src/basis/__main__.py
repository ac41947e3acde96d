"""`python -m basis` is the same as `basis`."""

import sys

STOPPED = 130  # how a shell calls the end by Ctrl-C


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it without a traceback."""
    try:
        from basis.cli import main as run
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    run()


if __name__ == "__main__":
    main()
