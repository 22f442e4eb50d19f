"""`python -m schuss.lab compare` does what `schuss lab compare` does."""

import sys


def main() -> None:
    """Run the command; a missing package is one clear line, not a traceback."""
    try:
        from .commands import app
    except ImportError as error:
        sys.exit(f"schuss lab: {error}")
    app(prog_name="schuss lab")


# Worker processes import this file again under another name: they must not start the command.
if __name__ == "__main__":
    main()
