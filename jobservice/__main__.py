"""`python -m jobservice`: the same as the `jobservice` command."""

from jobservice.cli.main import main

if __name__ == "__main__":
    main()
