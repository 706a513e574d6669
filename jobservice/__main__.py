"""`python -m jobservice`: the same as the `jobservice` command."""

_INTERRUPTED = 130

if __name__ == "__main__":
    try:
        from jobservice.cli.main import main
    except KeyboardInterrupt:  # half a second in which there is nothing to clean up, and no trace is wanted
        raise SystemExit(_INTERRUPTED) from None
    main()
