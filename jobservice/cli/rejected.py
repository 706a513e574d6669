"""`rejected`: messages that could not be accepted, why, and what to do with them."""

from typing import Annotated

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import BadUsage, UnknownName, tell
from jobservice.cli.output import fields_of

_COLUMNS = ("id", "code", "source", "routing_key", "bytes", "reason")

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids as `rejected list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All messages that are there now.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Look at refused messages, send them again, or drop them.")
    app.add_typer(group, name="rejected")
    command(group, "list")(list_rejected)
    command(group, "show")(show)
    command(group, "requeue")(requeue)
    command(group, "drop")(drop)


async def list_rejected(call: Call) -> None:
    """List refused messages, the oldest first."""
    async with jobs_of(call) as jobs:
        found = await jobs.rejected.all()
    call.output.rows([fields_of(message) for message in found], _COLUMNS)


async def show(call: Call, message_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show one refused message: its reason, its headers, its body."""
    async with jobs_of(call) as jobs:
        found = [message for message in await jobs.rejected.all() if message.id == message_id]
    if not found:
        raise UnknownName(f"there is no refused message {message_id}")
    call.output.record(fields_of(found[0]))


async def requeue(call: Call, ids: Ids = None, every: All = False) -> None:
    """Send messages to the queue that they came from, once more."""
    async with jobs_of(call) as jobs:
        _tell_taken("sent again", ids, await jobs.rejected.requeue(_chosen(ids, every)))


async def drop(call: Call, ids: Ids = None, every: All = False) -> None:
    """Throw messages away."""
    async with jobs_of(call) as jobs:
        _tell_taken("dropped", ids, await jobs.rejected.drop(_chosen(ids, every)))


def _chosen(ids: list[str] | None, every: bool) -> set[str] | None:
    if bool(ids) == every:
        raise BadUsage("give ids, or --all")
    return set(ids) if ids else None


def _tell_taken(deed: str, ids: list[str] | None, taken: list[str]) -> None:
    tell(f"{len(taken)} messages {deed}")
    if missing := sorted(set(ids or ()) - set(taken)):
        raise UnknownName(f"there is no refused message {', '.join(missing)}")
