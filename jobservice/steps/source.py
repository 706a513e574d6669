"""Reads a step's source, a chunk at a time, from a position on. A plain generator runs on a thread."""

import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack
from itertools import islice
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from jobservice.domain.errors import DefinitionError
from jobservice.sdk.steps import At, Chunk
from jobservice.steps.connections import StepConnections
from jobservice.steps.context import Context


class Source:
    """`async with Source(…) as source: await source.take(n)`."""

    def __init__(self, step: Chunk, context: Context, connections: StepConnections, after: Any) -> None:
        self._step = step
        self._context = context
        self._connections = connections
        self._after = after
        self._held = AsyncExitStack()
        self._items: AsyncIterator[At] | Iterator[At] | None = None

    async def __aenter__(self) -> "Source":
        async with AsyncExitStack() as held:
            self._items = await self._opened(held)
            self._held = held.pop_all()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self._held.__aexit__(kind, error, trace)

    async def _opened(self, held: AsyncExitStack) -> AsyncIterator[At] | Iterator[At]:
        """The reader's generator, from the position on; what it needs is in `held`, to be closed with it."""
        reader, context = self._step.read, self._context
        if getattr(reader, "needs_connection", not hasattr(reader, "read")):
            context = context.reading(await held.enter_async_context(self._connections.reading()))
        made: Any = (reader.read if hasattr(reader, "read") else reader)(context, self._after)
        if isinstance(made, AsyncGeneratorType):
            held.push_async_callback(made.aclose)
            return made
        if isinstance(made, GeneratorType):
            held.push_async_callback(context.threads.call, _close, made)
            return made
        raise DefinitionError(f"step {self._step.name}: `read` is no generator: it yields At(position, item)")

    async def take(self, count: int) -> list[At]:
        """The next items, `count` where there are so many; raises what the reader raises."""
        if isinstance(self._items, AsyncIterator):
            taken: list[At] = []
            async for item in self._items:
                taken.append(item)
                if len(taken) == count:
                    break
        else:
            items: Iterator[At] = self._items or iter(())
            taken = await self._context.threads.call(lambda: list(islice(items, count)))
        for kind in set(map(type, taken)) - {At}:
            if not issubclass(kind, At):
                item = next(each for each in taken if type(each) is kind)
                raise DefinitionError(f"step {self._step.name}: `read` yields At(position, item), not {item!r:.200}")
        return taken


def _close(items: Generator[At, Any, Any]) -> None:
    try:
        items.close()
    except ValueError:
        if inspect.getgeneratorstate(items) != inspect.GEN_RUNNING:
            raise
        # Cancelled while it was reading: its thread is in it still, and ends with what it reads.
