"""`hold` and `release`: job classes of which nothing starts. `hold` alone lists them."""

from typing import Annotated

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import BadUsage, tell
from jobservice.cli.output import fields_of
from jobservice.lifecycle.class_holds import ALL_CLASSES

_COLUMNS = ("job_class", "created_date", "put_aside", "reason")

ClassName = Annotated[str | None, typer.Argument(metavar="CLASS", help="Job class, known or not yet.")]
All = Annotated[bool, typer.Option("--all", help="All job classes.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "hold")(hold)
    command(app, "release")(release)


async def hold(
    call: Call,
    *,
    name: ClassName = None,
    everything: All = False,
    reason: Annotated[str | None, typer.Option(help="Why; shown to who asks why a job is not running.")] = None,
) -> None:
    """Start no more jobs of a class, or of all; running ones go on. Without either, list what is held."""
    if name is None and not everything:
        if reason is not None:
            raise BadUsage("a reason for what? name a class, or --all")
        async with jobs_of(call) as jobs:
            found = await jobs.operations.held_classes()
        call.output.rows([fields_of(each) for each in found], _COLUMNS)
        return
    job_class = _one_of(name, everything)
    async with jobs_of(call) as jobs:
        held = await jobs.operations.hold_class(job_class, reason)
    tell(f"{_words(job_class)} held{'' if held else ' already'}")


async def release(call: Call, *, name: ClassName = None, everything: All = False) -> None:
    """Start jobs of a held class again; --all undoes `hold --all`, and leaves single classes held."""
    job_class = _one_of(name, everything)
    async with jobs_of(call) as jobs:
        released = await jobs.operations.release_class(job_class)
    tell(f"{_words(job_class)} {'released' if released else 'not held'}")


def _one_of(name: str | None, everything: bool) -> str:
    if (name is None) is not everything:
        raise BadUsage("name a job class, or --all for all of them")
    return ALL_CLASSES if name is None else name


def _words(job_class: str) -> str:
    return "all job classes are" if job_class == ALL_CLASSES else f"job class {job_class} is"
