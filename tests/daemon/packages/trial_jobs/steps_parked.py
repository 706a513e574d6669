"""Jobs with steps in parts: what becomes of the job itself while they run, over the tables of `trial_jobs.steps`."""

from decimal import Decimal
from typing import Annotated, Any

from jobservice import AbstractJob
from jobservice.sdk.steps import Chunk, NotIdentifying, Task
from trial_jobs.steps import DIARY, double, plan, read_source, save, total


async def never(context: Any, items: list[int]) -> None:
    await context.connection.fetchval("SELECT nextval('throws')")  # sequences know no rollback
    raise OSError("not today")


class PartsNeverSucceed(AbstractJob):
    """Each of its two parts is tried three times."""

    batch: int = 1
    max_attempts = 3
    backoff = 0
    steps = (Chunk("copy", read=read_source, write=never, size=100, partitions=2, plan=plan),)


class ToldOfParts(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    listeners = (DIARY,)
    steps = (Chunk("copy", read=read_source, write=save, size=100, partitions=2, plan=plan, aggregate=total),)


async def door_is_open(context: Any) -> None:
    if not await context.connection.fetchval("SELECT count(*) FROM door"):
        raise OSError("the door is shut")


class CopiesAndEnters(AbstractJob):
    """In parts, then through a door."""

    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk("copy", read=read_source, write=save, size=10, partitions=4, plan=plan, aggregate=total),
        Task("enter", door_is_open),
    )


async def note_parameters(context: Any, items: list[int]) -> None:
    told = f"{context.job.rate} {context.job.limit} {context.job.what}"
    await context.connection.executemany("INSERT INTO target VALUES ($1, $2)", [(item, told) for item in items])


class PartsSeeParameters(AbstractJob):
    rate: Decimal
    limit: int
    what: dict[str, Any]
    steps = (Chunk("copy", read=read_source, write=note_parameters, size=100, partitions=2, plan=plan),)


async def fails_counted(context: Any) -> None:
    await context.connection.fetchval("SELECT nextval('throws')")
    raise OSError("not today")


class PartsStandIn(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Task("fails", fails_counted, on_failure="copy"),
        Chunk("copy", read=read_source, write=save, size=50, partitions=2, plan=plan),
    )


class CopiesAnewAndEnters(AbstractJob):
    """In parts that are planned anew with each start, then through a door."""

    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk(
            "copy",
            read=read_source,
            process=double,
            write=save,
            size=50,
            partitions=2,
            plan=plan,
            allow_start_if_complete=True,
        ),
        Task("enter", door_is_open),
    )
