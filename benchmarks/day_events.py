"""A subscriber in a process of its own that counts what it gets: which events of which jobs, and how often."""

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized

import aiormq

PREFETCH = 2_000
ACKNOWLEDGED = 500
PER_JOB = 3
"""TO_BE_RUN, RUNNING, SUCCEEDED: the changes after the submission, sequence 2 to 4."""
_ALL = 0b11100
_IDLE_SECONDS = 2.0


class Counted:
    """What the subscriber has counted so far; its last word once it has ended."""

    def __init__(
        self, process: multiprocessing.process.BaseProcess, said: Connection, numbers: "list[Synchronized[int]]"
    ) -> None:
        self._process = process
        self._said = said
        self._events, self._succeeded = numbers
        self._seen, self._changed_at = 0, time.monotonic()
        self.repeated = 0

    @property
    def events(self) -> int:
        """Different ones."""
        return self._events.value

    @property
    def succeeded(self) -> int:
        """Jobs of which SUCCEEDED has arrived."""
        return self._succeeded.value

    @property
    def idle(self) -> bool:
        """Whether nothing has come for two seconds; asked again and again."""
        if self._events.value != self._seen:
            self._seen, self._changed_at = self._events.value, time.monotonic()
        return time.monotonic() - self._changed_at > _IDLE_SECONDS

    def check(self) -> None:
        """Raise RuntimeError where the subscriber has ended."""
        if not self._process.is_alive():
            raise RuntimeError("the subscriber has ended; its last lines are above")

    def problems(self, jobs: int) -> list[str]:
        """What is missing. Ends the subscriber."""
        self._said.send("over")
        complete, twice, self.repeated = self._said.recv()
        problems = [] if complete == jobs else [f"all three events arrived of {complete:,} of {jobs:,} jobs"]
        return problems if not twice else [*problems, f"{twice:,} jobs were told to have a fourth change"]


@contextlib.contextmanager
def counting(amqp_url: str, queue: str) -> Iterator[Counted]:
    """It takes what comes into `queue`."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    numbers = [context.Value("q", 0), context.Value("q", 0)]
    process = context.Process(target=_count, args=(amqp_url, queue, its, numbers), daemon=True)
    process.start()
    try:
        yield Counted(process, ours, numbers)
    finally:
        process.terminate()
        process.join()


def _count(amqp_url: str, queue: str, said: Connection, numbers: "list[Synchronized[int]]") -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_take(amqp_url, queue, said, numbers))


async def _take(amqp_url: str, queue: str, said: Connection, numbers: "list[Synchronized[int]]") -> None:
    events, succeeded = numbers
    changes: dict[int, int] = {}  # by job: a bit for each sequence
    repeated = 0
    connection = await aiormq.connect(amqp_url)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=PREFETCH)

    async def take(message: aiormq.abc.DeliveredMessage) -> None:
        nonlocal repeated
        job, _, sequence = (message.header.properties.message_id or "").partition(":")
        number, bit = int(job.replace("-", ""), 16), 1 << int(sequence)
        known = changes.get(number, 0)
        repeated += bool(known & bit)
        changes[number] = known | bit
        events.value += not known & bit
        succeeded.value += bit == 1 << PER_JOB + 1 and not known & bit
        tag = message.delivery_tag or 0
        if tag % ACKNOWLEDGED == 0:
            await channel.basic_ack(tag, multiple=True)

    await channel.basic_consume(queue, take)
    while not said.poll():
        await asyncio.sleep(0.05)
    said.send((sum(each == _ALL for each in changes.values()), sum(each > _ALL for each in changes.values()), repeated))
