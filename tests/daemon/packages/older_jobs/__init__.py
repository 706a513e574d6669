"""A job class of `trial_jobs` as an older version of its code has it: one step less."""

from typing import Annotated, Any

from jobservice import AbstractJob
from jobservice.sdk.steps import NotIdentifying, Task


async def note_down(context: Any) -> None:
    await context.connection.execute("INSERT INTO tally (value) VALUES (-1)")


class PartsWaitForDoors(AbstractJob):
    batch: int = 1
    note: Annotated[str, NotIdentifying] = ""
    steps = (Task("after", note_down, transaction=True),)
