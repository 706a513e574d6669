"""The `jobservice` command: the table of its commands, in the order in which one meets them."""

from pathlib import Path
from typing import Annotated

import typer

import jobservice
from jobservice.cli import (
    daemon,
    daemons,
    demo,
    doctor,
    hold,
    jobs,
    pipeline,
    queue,
    rejected,
    schedule,
    schema,
    stop,
    submit,
    subscription,
    tenant,
    up,
    verbs,
    wait,
    watch,
)
from jobservice.cli.call import AmqpUrl, Config, DatabaseUrl, Debug, Json
from jobservice.cli.exits import Exit


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"jobservice {jobservice.__version__}")
        raise typer.Exit(Exit.OK)


def _global_options(
    context: typer.Context,
    *,
    database_url: DatabaseUrl = None,
    amqp_url: AmqpUrl = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Jobs in PostgreSQL, events over RabbitMQ, fair between tenants, nothing lost."""
    del version
    given: dict[str, str | Path | bool | None] = {"database_url": database_url, "amqp_url": amqp_url}
    context.obj = {**given, "config": config, "json": json, "debug": debug}


def build() -> typer.Typer:
    """All commands in one application."""
    # Typer's own pretty traces show local variables, and those hold parameters and passwords.
    app = typer.Typer(name="jobservice", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True)
    app.callback()(_global_options)
    for noun in (
        daemon,
        up,
        demo,
        submit,
        jobs,
        stop,
        verbs,
        wait,
        watch,
        pipeline,
        schedule,
        daemons,
        rejected,
        subscription,
        tenant,
        queue,
        hold,
        schema,
        doctor,
    ):
        noun.register(app)
    return app


def main() -> None:
    """Entry point of the console script."""
    build()()
