"""`subscription`: the durable queues in which other services collect their events."""

from typing import Annotated

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import UnknownName, tell
from jobservice.cli.output import fields_of

_COLUMNS = ("name", "queue", "messages", "consumers", "filter", "created_date")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="List and delete durable subscriptions.")
    app.add_typer(group, name="subscription")
    command(group, "list")(list_subscriptions)
    command(group, "delete")(delete)


async def list_subscriptions(call: Call) -> None:
    """List durable subscriptions, what waits in each, and who reads it."""
    async with jobs_of(call) as jobs:
        found = await jobs.subscriptions.all()
    call.output.rows([fields_of(subscription) for subscription in found], _COLUMNS)


async def delete(call: Call, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Delete a durable subscription and all events that wait in it."""
    async with jobs_of(call) as jobs:
        if name not in {each.name for each in await jobs.subscriptions.all()}:
            raise UnknownName(f"there is no durable subscription {name}")
        dropped = await jobs.subscriptions.delete(name)
    tell(f"subscription {name} is deleted, {dropped} events with it")
