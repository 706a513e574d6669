"""Jobs with steps whose functions fail, write elsewhere, or end badly, over the tables of `trial_jobs.steps`."""

import threading
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any

from jobservice import AbstractJob
from jobservice.sdk.steps import At, Chunk, NotIdentifying, Range, RetryPolicy, SkipPolicy, Task
from trial_jobs.steps import count, plan, read_source, save, total, wait_for_door


def _step(number: int) -> Task:
    async def run(context: Any) -> None:
        value = context.job.batch * 100 + number
        await context.connection.execute("INSERT INTO tally (value) VALUES ($1)", value)

    return Task(f"step{number:02}", run, transaction=True)


class TwentySteps(AbstractJob):
    batch: int = 1
    steps = tuple(_step(number) for number in range(20))


async def fails_by_dice(context: Any, items: list[int]) -> None:
    """Writes, and then fails as often as table `dice` says of the chunk's first item."""
    await save(context, items)
    left = "SELECT count(*) FROM dice WHERE item = $1 AND fails > (SELECT last_value FROM throws)"
    await context.connection.fetchval("SELECT nextval('throws')")  # sequences know no rollback
    if await context.connection.fetchval(left, items[0]):
        raise ConnectionResetError("the other server is away")


class CopiesByDice(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk("copy", read=read_source, write=fails_by_dice, size=5, partitions=4, plan=plan, aggregate=total),
        Task("after", lambda: None),
    )


TRIED: list[list[int]] = []


async def away_twice(context: Any, items: list[int]) -> None:
    TRIED.append(items)
    if len(TRIED) <= 2:
        raise ConnectionResetError("the other server is away")
    await save(context, items)


class WritesElsewhere(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (Chunk("copy", read=read_source, write=away_twice, size=100, retry=RetryPolicy(on=OSError, backoff=0)),)


def stops_itself(context: Any, item: int) -> int:
    if item == 7:
        context.job.abort("seven is enough")
    return item


class StopsItself(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk(
            "copy", read=read_source, process=stops_itself, write=save, size=3, retry=RetryPolicy(),
            skip=SkipPolicy(on=Exception, limit=100),
        ),
    )  # fmt: skip


def raises(context: Any) -> bool:
    raise LookupError("nobody knows")


class AsksWrongly(AbstractJob):
    batch: int = 1
    steps = (Task("asks", lambda: None, when=raises),)


class PlansWrongly(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (Chunk("copy", read=read_source, write=save, partitions=4, plan=lambda context, parts: raises(context)),)


def read_dates(context: Any, after: Any) -> Iterator[At]:
    yield At(date(2026, 1, 1), 1)


class KeepsDates(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (Chunk("copy", read=read_dates, write=save),)


def halves(context: Any, parts: int) -> list[Range]:
    return [Range(0, 50), Range(50, 95)]


class CopiesAgain(AbstractJob):
    """Its parts run again with each restart, though they had succeeded."""

    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk(
            "copy", read=read_source, write=save, size=50, partitions=2, plan=halves, allow_start_if_complete=True
        ),
        Task("fails", raises),
    )  # fmt: skip


class CopiesInTenParts(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk("copy", read=read_source, write=save, size=2, count=count, partitions=10, plan=plan, aggregate=total),
    )


class PartsWaitForDoors(AbstractJob):
    """Each of its eight parts does twelve items in chunks of three, as far as the doors are open."""

    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (Chunk("copy", read=read_source, write=wait_for_door, size=3, partitions=8, plan=plan, aggregate=total),)


ALL = threading.Barrier(9)


class Meets(AbstractJob):
    """Ends when nine of them are at work at once."""

    batch: int = 1
    steps = (Task("meet", lambda: ALL.wait(30) and None),)
