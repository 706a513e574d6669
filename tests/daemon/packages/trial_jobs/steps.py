"""Jobs with steps, over tables `source`, `target` and `tally` that a test makes."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from jobservice import AbstractJob
from jobservice.sdk.steps import At, Chunk, NotIdentifying, Range, SkipPolicy, Task


async def read_source(context: Any, after: Any) -> AsyncIterator[At]:
    low, high = context.partition.low or 0, context.partition.high or 2**31 - 1
    query = "SELECT id, value FROM source WHERE id > $1 AND id <= $2 ORDER BY id"
    async for row in context.connection.cursor(query, after if after is not None else low, high):
        yield At(row["id"], row["value"])


async def save(context: Any, items: list[int]) -> None:
    await context.connection.executemany(
        "INSERT INTO target (value, note) VALUES ($1, $2)", [(item, context.job.note) for item in items]
    )


def double(item: int) -> int | None:
    if item < 0:
        raise ValueError(f"negative: {item}")
    return None if item % 10 == 0 else item * 2


async def tally(context: Any) -> str:
    context.shared["total"] = await context.connection.fetchval("SELECT count(*) FROM target")
    await context.connection.execute("INSERT INTO tally (value) VALUES ($1)", context.shared["total"])
    return f"{context.shared['total']} rows"


async def count(context: Any) -> int:
    return int(await context.connection.fetchval("SELECT count(*) FROM source"))


async def plan(context: Any, parts: int) -> list[Range]:
    last = await context.connection.fetchval("SELECT coalesce(max(id), 0) FROM source")
    step = -(-last // parts) or 1
    return [Range(low, min(low + step, last)) for low in range(0, last, step)]


class Copies(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk("copy", read=read_source, process=double, write=save, size=10, count=count),
        Task("tally", tally, transaction=True),
    )


class CopiesSkipping(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk("copy", read=read_source, process=double, write=save, size=10, skip=SkipPolicy(on=ValueError, limit=3)),
    )


async def total(context: Any, parts: list[Any]) -> str:
    await context.connection.execute(
        "INSERT INTO tally (value) VALUES ($1)", sum(part.counts.written for part in parts)
    )
    return f"{len(parts)} parts"


class CopiesInParts(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk("copy", read=read_source, process=double, write=save, size=10, partitions=4, plan=plan, aggregate=total),
        Task("tally", tally, transaction=True),
    )
