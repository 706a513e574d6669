"""Jobs with chunk steps that count their items, over the tables of `trial_jobs.steps`."""

from typing import Annotated, Any

from jobservice import AbstractJob
from jobservice.sdk.steps import Chunk, NotIdentifying
from trial_jobs.steps import plan, read_source, save, wait_for_door


async def count_part(context: Any) -> int:
    low, high = context.partition.low or 0, context.partition.high or 2**31 - 1
    query = "SELECT count(*) FROM source WHERE id > $1 AND id <= $2"
    return int(await context.connection.fetchval(query, low, high))


class CountsInParts(AbstractJob):
    """Three steps over all items: whole, in eight parts as far as the doors are open, whole."""

    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Chunk("first", read=read_source, write=save, size=50, count=count_part),
        Chunk("copy", read=read_source, write=wait_for_door, size=3, partitions=8, plan=plan, count=count_part),
        Chunk("last", read=read_source, write=save, size=50, count=count_part),
    )


async def wait_in_later_half(context: Any, items: list[int]) -> None:
    if context.partition.index >= 4:
        await wait_for_door(context, items)
    else:
        await save(context, items)


class HalfWaitsForDoor(AbstractJob):
    """Of its eight parts, whose items nothing counts, the last four wait before their first commit."""

    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (Chunk("copy", read=read_source, write=wait_in_later_half, size=3, partitions=8, plan=plan),)
