"""The program: `jobservice`, and `python -m jobservice`."""

_INTERRUPTED = 130


def main() -> None:
    """Import the command line, which takes half a second, and run it."""
    try:
        from jobservice.cli.main import main as run
    except KeyboardInterrupt:  # there is nothing to clean up yet, and no trace is wanted
        raise SystemExit(_INTERRUPTED) from None
    run()


if __name__ == "__main__":
    main()
