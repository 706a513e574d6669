"""Jobs with steps, over tables `source`, `target` and `tally` that a test makes."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

import asyncpg

from jobservice import AbstractJob
from jobservice.sdk.steps import At, Chunk, Listener, NotIdentifying, Range, RetryPolicy, SkipPolicy, Task


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


async def wait_for_door(context: Any, items: list[int]) -> None:
    """Each chunk knocks, and waits until table `door` has as many rows as there are chunks so far: a test opens it."""
    await save(context, items)
    connection = await asyncpg.connect(os.environ["TRIAL_DATABASE_URL"])
    try:
        await connection.execute("INSERT INTO knock VALUES ($1)", context.counts.commits)
        while await connection.fetchval("SELECT count(*) FROM door") <= context.counts.commits:
            await asyncio.sleep(0.01)
    finally:
        await connection.close()


class CopiesStepwise(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (Chunk("copy", read=read_source, write=wait_for_door, size=10, count=count),)


class CopiesTwice(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk("copy", read=read_source, process=double, write=save, size=10, count=count),
        Chunk("again", read=read_source, write=wait_for_door, size=10, count=count),
    )


class Diary(Listener):
    """Writes down what it is told; one of its hooks always fails."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def before_job(self, context: Any) -> None:
        self.lines.append("before_job")
        raise RuntimeError("listeners harm nothing")

    def after_job(self, context: Any, error: BaseException | None) -> None:
        self.lines.append(f"after_job {type(error).__name__}")

    def before_step(self, context: Any, step: str) -> None:
        self.lines.append(f"before_step {step}")

    def after_step(self, context: Any, step: str, error: BaseException | None) -> None:
        self.lines.append(f"after_step {step} {type(error).__name__}")

    def before_part(self, context: Any, step: str) -> None:
        self.lines.append(f"before_part {step}")

    def after_part(self, context: Any, step: str, error: BaseException | None) -> None:
        self.lines.append(f"after_part {step} {type(error).__name__}")

    async def before_chunk(self, context: Any) -> None:
        self.lines.append("before_chunk")

    async def after_chunk(self, context: Any) -> None:
        self.lines.append(f"after_chunk {context.counts.commits}")

    def on_chunk_error(self, context: Any, error: BaseException) -> None:
        self.lines.append(f"on_chunk_error {error}")

    def on_skip(self, context: Any, where: str, item: Any, error: BaseException) -> None:
        self.lines.append(f"on_skip {where} {item}")

    def on_retry(self, context: Any, where: str, error: BaseException, attempt: int) -> None:
        self.lines.append(f"on_retry {where} {attempt}")


DIARY = Diary()


class Told(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    listeners = (DIARY,)
    steps = (Chunk("copy", read=read_source, process=double, write=save, size=50),)


async def save_unless_seven(context: Any, items: list[int]) -> None:
    await save(context, items)
    if 7 in items:
        raise ValueError("seven cannot be written")


class WritesSingly(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    listeners = (DIARY,)
    steps = (
        Chunk(
            "copy",
            read=read_source,
            write=save_unless_seven,
            size=10,
            retry=RetryPolicy(on=ValueError, times=1, backoff=0),
            skip=SkipPolicy(on=ValueError, limit=1),
        ),
    )


async def fails(context: Any) -> None:
    if await context.connection.fetchval("SELECT count(*) FROM source") > 0:
        raise OSError("not today")


async def note_down(context: Any) -> None:
    await context.connection.execute("INSERT INTO tally (value) VALUES (-1)")


class Flows(AbstractJob):
    batch: int = 1
    steps = (
        Task("never", fails, when=lambda context: context.job.batch > 100),
        Task("fails", fails, on_failure="mend"),
        Task("after", tally),
        Task("mend", note_down, transaction=True),
    )


class StartsTwice(AbstractJob):
    batch: int = 1
    steps = (Task("first", note_down, allow_start_if_complete=True), Task("fails", fails, start_limit=2))


class OnlyOnce(AbstractJob):
    batch: int = 1
    prevent_restart = True
    steps = (Task("fails", fails),)
