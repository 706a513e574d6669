"""A job whose functions fail by chance wherever they are called, until the file $TRIAL_CALM is there.

From a CSV in three parts to table `target`, from there in three parts to a CSV.
"""

import inspect
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel

from jobservice import AbstractJob
from jobservice.batch import Column, CsvReader, CsvWriter, KeysetReader, merge
from jobservice.sdk.steps import At, Chunk, RetryPolicy, Task

DICE = random.Random()


def perhaps(share: float = 0.02) -> None:
    if DICE.random() < share and not Path(os.environ["TRIAL_CALM"]).exists():
        raise OSError("by chance")


class Row(BaseModel):
    value: Annotated[int, Column(name="No")]
    note: str


class Reads:
    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, context: Any, after: Any) -> Any:
        made = self._reader.read(context, after)
        return self._async(made) if inspect.isasyncgen(made) else self._plain(made)

    def _plain(self, items: Iterator[At]) -> Iterator[At]:
        for item in items:
            perhaps(0.005)
            yield item

    async def _async(self, items: AsyncIterator[At]) -> AsyncIterator[At]:
        async for item in items:
            perhaps(0.005)
            yield item


class Writes:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def write(self, context: Any, items: list[Any]) -> None:
        perhaps()
        self._writer.write(context, items)
        perhaps()


async def save_rows(context: Any, rows: list[Row]) -> None:
    perhaps()
    await context.connection.executemany("INSERT INTO target VALUES ($1, $2)", [(row.value, row.note) for row in rows])
    perhaps()


def see(row: Row) -> Row:
    perhaps(0.005)
    return row


async def note_parts(context: Any, parts: list[Any]) -> None:
    perhaps(0.3)
    await context.connection.execute("INSERT INTO tally VALUES ($1)", sum(part.counts.written for part in parts))
    perhaps(0.3)


async def note_begin(context: Any) -> None:
    perhaps(0.3)
    await context.connection.execute("INSERT INTO tally VALUES (-1)")
    perhaps(0.3)


OUT = CsvWriter("{directory}/out.csv", Row)
MERGE = merge(OUT)


def merge_perhaps(context: Any, parts: list[Any]) -> str:
    perhaps(0.3)
    told = MERGE(context, parts)
    perhaps(0.3)
    return told


RETRY = RetryPolicy(on=OSError, times=1, backoff=0)


class FailsByChance(AbstractJob):
    directory: str
    steps = (
        Task("begin", note_begin, transaction=True, retry=RETRY),
        Chunk(
            "load",
            read=Reads(CsvReader("{directory}/source.csv", Row)),
            process=see,
            write=save_rows,
            size=5,
            partitions=3,
            aggregate=note_parts,
            retry=RETRY,
        ),
        Chunk(
            "export",
            read=Reads(KeysetReader("SELECT value, note FROM target", "value", Row)),
            process=see,
            write=Writes(OUT),
            size=7,
            partitions=3,
            aggregate=merge_perhaps,
            retry=RETRY,
        ),
    )
