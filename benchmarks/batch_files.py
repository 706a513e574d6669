"""How many rows a second readers and writers of files do on one core: `python -m benchmarks.batch_files [ROWS]`.

Without any server. A row is a pydantic model of six fields, one of them a date with a format.
"""

import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

from pydantic import BaseModel

from jobservice.batch import (
    Column,
    CsvReader,
    CsvWriter,
    FixedWidthReader,
    FixedWidthWriter,
    JsonLinesReader,
    JsonLinesWriter,
    TsvReader,
    TsvWriter,
)
from jobservice.sdk.steps import Partition

CHUNK = 1000


class Trade(BaseModel):
    """As a bank would have it."""

    number: Annotated[int, Column(name="No", width=10)]
    day: Annotated[date, Column(name="Trade date", format="%d.%m.%Y", width=10)]
    user: Annotated[str, Column(width=12)]
    amount: Annotated[Decimal, Column(width=12)]
    rate: Annotated[float, Column(width=8)]
    note: Annotated[str | None, Column(width=20)] = None


def trade(number: int) -> Trade:
    """The number's."""
    return Trade(
        number=number,
        day=date(2026, 1, 1) + timedelta(days=number % 365),
        user=f"user{number % 20}",
        amount=Decimal(number) / 100,
        rate=(number % 1000) / 8,
        note=None if number % 10 else 'quoted, "so"',
    )


def main(rows: int) -> None:
    """Prints a line for each kind of file."""
    trades = [trade(number) for number in range(CHUNK)]
    print(f"{rows} rows; rows/s: write, read, plan of ten parts")
    with tempfile.TemporaryDirectory() as directory:
        for writer, reader in (
            (CsvWriter, CsvReader),
            (TsvWriter, TsvReader),
            (JsonLinesWriter, JsonLinesReader),
            (FixedWidthWriter, FixedWidthReader),
        ):
            path = Path(directory) / writer.__name__
            info = SimpleNamespace(id="benchmark", run=1)
            context: Any = SimpleNamespace(job=None, partition=Partition(), state={}, info=info)
            with timed() as writing:
                write(writer(path, Trade), context, trades, rows)
            with timed() as reading:
                deque(reader(path, Trade).read(context, None), maxlen=0)
            with timed() as planning:
                reader(path, Trade).plan(context, 10)
            figures = "".join(f"{rows / took[0]:12,.0f}" for took in (writing, reading, planning))
            print(f"{writer.__name__.removesuffix('Writer'):12}{figures}")


def write(writer: Any, context: Any, trades: list[Trade], rows: int) -> None:
    """In chunks, each synced as a step has it."""
    writer.open(context)
    for _ in range(rows // CHUNK):
        writer.write(context, trades)
    writer.close(context)


@contextmanager
def timed() -> Iterator[list[float]]:
    """The processor's seconds: other programs of the machine do not count."""
    took: list[float] = []
    start = time.process_time()
    yield took
    took.append(max(time.process_time() - start, 1e-9))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
