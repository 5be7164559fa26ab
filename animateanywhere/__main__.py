"""`aa`, and `python -m animateanywhere`."""

import sys


def run() -> int:
    """Run `aa` and return its exit code."""
    try:  # loading takes a moment, in which Ctrl-C can come too
        from animateanywhere.cli.main import main
    except KeyboardInterrupt:
        print("aa: stopped; to go on, run the same command again", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(run())
