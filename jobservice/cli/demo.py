"""`demo`: the main job in one go, on private servers or on given ones."""

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.exits import Exit, tell


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "demo")(demo)


def demo(call: Call) -> int:
    """Three tenants, real work on real files, live events, a summary with checks; then all is gone again.

    Starts private servers, or uses those of --database-url and --amqp-url (or the variables), in a schema and under a
    prefix of its own. Exits with 0 only if every check holds.
    """
    # Imported here: no other command plays, and all start faster without.
    from jobservice.demo.failed import DemoFailed
    from jobservice.demo.run import run_demo

    try:
        holds = run_demo(
            database_url=call.database_url,
            amqp_url=call.amqp_url,
            as_json=call.json,
            announce=tell,
            document=call.output.document,
        )
    except DemoFailed as failed:
        tell(f"jobservice: {failed}")
        return Exit.FAILED
    return Exit.OK if holds else Exit.FAILED
