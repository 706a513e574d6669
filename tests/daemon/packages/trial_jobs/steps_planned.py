"""Steps whose readers go by their plan, with one part or several, and by the parts' numbers where there is none."""

from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

from jobservice import AbstractJob, At, Chunk, Range
from trial_jobs.steps import plan, save, total

TO_THE_END = "SELECT id, value FROM source WHERE id > $1 AND id <= $2 ORDER BY id"
OF_THE_PART = "SELECT id, value FROM source WHERE id > $1 AND id % $2 = $3 ORDER BY id"


async def read_planned(context: Any, after: int | None) -> AsyncIterator[At]:
    part = context.partition
    async for row in context.connection.cursor(TO_THE_END, after or part.low, part.high):
        yield At(row["id"], row["value"])


async def read_by_number(context: Any, after: int | None) -> AsyncIterator[At]:
    part = context.partition
    async for row in context.connection.cursor(OF_THE_PART, after or 0, part.count, part.index):
        yield At(row["id"], row["value"])


class InOnePart(AbstractJob):
    batch: int = 1
    note: str = ""
    steps = (Chunk("copy", read=read_planned, write=save, size=10, plan=plan, aggregate=total),)


class Unplanned(AbstractJob):
    batch: int = 1
    note: str = ""
    steps = (Chunk("copy", read=read_planned, write=save, size=10, partitions=4, aggregate=total),)


class ByNumber(AbstractJob):
    batch: int = 1
    note: str = ""
    steps = (Chunk("copy", read=read_by_number, write=save, size=10, partitions=4, aggregate=total),)


def plan_days(context: Any, parts: int) -> list[Range]:
    return [Range(date(2026, 1, 1), date(2026, 1, 2))] * parts


def read_low(context: Any, after: int | None) -> Iterator[At]:
    yield At(1, len(context.partition.low))  # of a text: a date has no length


class DaysInOnePart(AbstractJob):
    note: str = ""
    steps = (Chunk("copy", read=read_low, write=save, plan=plan_days),)


class DaysInParts(AbstractJob):
    note: str = ""
    steps = (Chunk("copy", read=read_low, write=save, plan=plan_days, partitions=2),)
