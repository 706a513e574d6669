"""How what a job's author wrote is called: the reader's generator, and the function that sees each item."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import structlog

from jobservice.domain.errors import JobAborted
from jobservice.sdk.steps import At, Chunk
from jobservice.steps.calling import call, call_each
from jobservice.steps.connections import StepConnections
from jobservice.steps.context import Context
from jobservice.steps.source import Source
from jobservice.steps.threads import StepThreads

DEADLINE = 20


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[StepConnections]:
    connections = StepConnections(url=database_url, daemon_id=uuid4(), size=1)
    yield connections
    await connections.close()


def context() -> Context:
    class Job:
        log = structlog.get_logger()

    return Context(job=Job(), key="k", shared={}, threads=StepThreads())


async def test_a_reader_that_is_cancelled_on_its_thread_ends_as_cancelled(connections: StepConnections) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def read(context: Any, after: Any) -> Iterator[At]:
        reading.set()
        go_on.wait(DEADLINE)
        yield At(1, 1)

    async def run() -> None:
        async with Source(Chunk("copy", read=read, write=print), context(), connections, None) as source:
            await source.take(1)

    task = asyncio.create_task(run())
    await asyncio.to_thread(reading.wait, DEADLINE)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()


@pytest.mark.parametrize(
    ("process", "made"),
    [
        (int, [1, 2]),
        (Decimal, [Decimal(1), Decimal(2)]),
        (lambda item, factor=2: item * factor, ["11", "22"]),
        (lambda item=None: item, ["1", "2"]),
        (lambda context, item: (context.chunk_key, item), [("k:0", "1"), ("k:0", "2")]),
    ],
)
async def test_a_function_that_processes_sees_the_item_whatever_else_it_might_take(
    process: Callable[..., Any], made: list[Any]
) -> None:
    assert await call_each(process, context(), ["1", "2"]) == (made, {})


async def test_plain_functions_process_a_chunk_on_one_thread_and_async_ones_on_the_loop() -> None:
    def plain(item: int) -> int:
        return threading.get_ident()

    async def on_the_loop(item: int) -> int:
        return threading.get_ident()

    threads, _ = await call_each(plain, context(), range(5))
    loops, _ = await call_each(on_the_loop, context(), range(5))

    assert len(set(threads)) == 1
    assert set(loops) == {threading.get_ident()}
    assert set(threads) != set(loops)


@pytest.mark.parametrize("is_plain", [True, False])
async def test_what_is_raised_of_an_item_is_kept_with_it_and_an_abort_ends_all(is_plain: bool) -> None:
    def plain(item: int) -> int:
        if item == 3:
            raise JobAborted("enough")
        return 6 // item

    async def on_the_loop(item: int) -> int:
        return plain(item)

    process = plain if is_plain else on_the_loop

    values, errors = await call_each(process, context(), [1, 0, 2])

    assert values == [6, None, 3]
    assert {index: type(error) for index, error in errors.items()} == {1: ZeroDivisionError}
    with pytest.raises(JobAborted):
        await call_each(process, context(), [3])


async def test_what_a_plain_function_returns_is_awaited_where_it_has_to_be() -> None:
    async def double(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        return item * 2

    class Doubles:
        def __call__(self, item: int) -> Any:
            return double(item)

    assert await call(Doubles(), context(), 2) == 4
    assert await call(partial(double, 2), context()) == 4
    values, errors = await call_each(lambda item: double(item) if item > 1 else item, context(), [1, 2, 3])
    assert (values, list(errors)) == ([1, 4, None], [2])
    assert await call_each(Doubles(), context(), [1, 2]) == ([2, 4], {})
