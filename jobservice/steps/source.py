"""Reads a step's source, a chunk at a time, from a position on. A plain generator runs on a thread."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import islice
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
        reader = self._step.read
        context = self._context
        if getattr(reader, "needs_connection", not hasattr(reader, "read")):
            context = context.reading(await self._held.enter_async_context(self._connections.reading()))
        made = (reader.read if hasattr(reader, "read") else reader)(context, self._after)
        if inspect.isasyncgen(made):
            self._held.push_async_callback(made.aclose)
        elif inspect.isgenerator(made):
            self._held.push_async_callback(asyncio.to_thread, made.close)
        else:
            await self._held.aclose()
            raise DefinitionError(f"step {self._step.name}: `read` is no generator: it yields At(position, item)")
        self._items = made
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self._held.__aexit__(kind, error, trace)

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
            taken = await asyncio.to_thread(lambda: list(islice(items, count)))
        for kind in set(map(type, taken)) - {At}:
            if not issubclass(kind, At):
                item = next(each for each in taken if type(each) is kind)
                raise DefinitionError(f"step {self._step.name}: `read` yields At(position, item), not {item!r:.200}")
        return taken
