"""Steps that ask for more jobs, in a job that succeeds in another run than those that were asked."""

from typing import Any

from jobservice import AbstractJob, Chunk, JobInfo, RetryPolicy, Task
from trial_jobs.steps import plan, read_source, save

TRIED: set[str] = set()


def wish(context: Any, what: str) -> None:
    context.job.submit_next(JobInfo("Wished", description=what))


class Wished(AbstractJob):
    def run(self) -> None: ...


async def wish_and_save(context: Any, items: list[int]) -> None:
    """A chunk whose first try fails, each time: what that has wished is not wished twice."""
    wish(context, f"chunk to {items[-1]}")
    if context.chunk_key not in TRIED:
        TRIED.add(context.chunk_key)
        raise OSError("try again")
    await save(context, items)


def wish_of_parts(context: Any, parts: list[Any]) -> str:
    wish(context, "aggregate")
    return ", ".join(sorted(name for part in parts for name in part.state))


def wish_in_vain(context: Any) -> None:
    wish(context, "in vain")
    raise OSError("not today")


async def fails_once(context: Any) -> None:
    wish(context, "last step")
    if context.info.attempt == 1:
        raise OSError("not at the first attempt")


class Wishes(AbstractJob):
    batch: int = 1
    note: str = ""
    max_attempts = 2
    backoff = 0
    steps = (
        Task("first", lambda context: wish(context, "first step")),
        Chunk("whole", read=read_source, write=wish_and_save, size=50, retry=RetryPolicy(on=OSError, backoff=0)),
        Chunk("parts", read=read_source, write=wish_and_save, partitions=2, plan=plan, aggregate=wish_of_parts,
              retry=RetryPolicy(on=OSError, backoff=0)),
        Task("fails", fails_once),
    )  # fmt: skip


class StandsIn(AbstractJob):
    batch: int = 1
    steps = (
        Task("fails", wish_in_vain, on_failure="mend"),
        Task("mend", lambda context: wish(context, "mended")),
    )
