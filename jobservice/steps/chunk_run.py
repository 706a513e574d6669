"""One run of a chunk step, or of a part of one: chunk after chunk, each one transaction with its checkpoint.

What fails is rolled back in memory as in the database: the next chunk, and the next run, begin behind the last commit.
Savepoints are for what has failed: an item's own statement that has spoilt the transaction has the chunk begun anew,
each item in a savepoint.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from jobservice.domain.errors import JobAborted
from jobservice.sdk.steps import At, Chunk
from jobservice.steps.book import Book, StepState
from jobservice.steps.calling import Listeners, call, call_each
from jobservice.steps.checkpoints import Checkpoints
from jobservice.steps.connections import RECONNECTS, ConnectionGone, StepConnections, pause_before
from jobservice.steps.context import Context
from jobservice.steps.savepoints import Spoilt, of_user
from jobservice.steps.source import Source
from jobservice.steps.tries import Tries


class ChunkRun:
    """`execute` returns when the source is at its end and all is committed."""

    def __init__(
        self,
        *,
        step: Chunk,
        instance: UUID,
        state: StepState,
        context: Context,
        book: Book,
        connections: StepConnections,
        listeners: Listeners,
        ending: Callable[[], str | None],
        committed: Callable[[], None],
    ) -> None:
        self._step = step
        self._instance = instance
        self._state = state
        self._context = context
        self._book = book
        self._connections = connections
        self._listeners = listeners
        self._ending = ending
        self._committed = committed
        self._tries = Tries(step, context, listeners)
        context.counts, context.state = state.counts, state.state

    async def execute(self) -> None:
        """Raises JobAborted behind the current chunk when the run is to end, and what fails for good."""
        lost = 0
        while True:
            commits = self._context.counts.commits
            try:
                if lost:
                    await self._stand_anew()
                await self._open_writer()
                async with (
                    self._connections.writing(self._ending) as connection,
                    Source(self._step, self._context, self._connections, self._state.position) as source,
                ):
                    await self._chunks(connection, source)
                await self._close_writer()
                return
            except ConnectionGone as error:
                lost = 1 if self._context.counts.commits > commits else lost + 1
                if lost > RECONNECTS:
                    raise
                self._context.log.warning("chunk.reconnect", step=self._step.name, reason=str(error), attempt=lost)
                await asyncio.sleep(pause_before(lost))
                self._end_if_asked()

    async def _chunks(self, connection: asyncpg.Connection, source: Source) -> None:
        checkpoints = self._book.checkpoints(self._instance, self._state)
        while True:
            self._end_if_asked()
            batch = await source.take(self._step.size)
            if not batch:
                return
            await self._chunk(connection, batch, checkpoints)

    def _end_if_asked(self) -> None:
        if (reason := self._ending()) is not None:
            raise JobAborted(reason)

    async def _chunk(self, connection: asyncpg.Connection, batch: Sequence[At], checkpoints: Checkpoints) -> None:
        try:
            await self._transaction(connection, batch, checkpoints, singly=False)
        except Spoilt:
            try:
                await self._transaction(connection, batch, checkpoints, singly=True)
            except Spoilt as spoilt:  # not by an item
                raise of_user(spoilt) from None

    async def _transaction(
        self, connection: asyncpg.Connection, batch: Sequence[At], checkpoints: Checkpoints, *, singly: bool
    ) -> None:
        """`singly`: each item is processed in a savepoint."""
        context, position = self._context, batch[-1].position
        before = context.remember()
        try:
            async with connection.transaction():
                context.connection = connection
                await self._listeners.tell("before_chunk", context)
                context.counts.read += len(batch)
                await self._write(connection, *await self._processed(connection, batch, singly=singly))
                context.counts.commits += 1
                await checkpoints.write(connection, position=position, state=context.kept, counts=context.counts)
        except BaseException as error:
            context.go_back(before)
            context.counts.rollbacks += 1
            await self._listeners.tell("on_chunk_error", context, of_user(error))
            raise
        finally:
            context.connection = None
        checkpoints.committed()
        self._state.position = position
        self._committed()
        await self._listeners.tell("after_chunk", context)

    # Items.

    async def _processed(
        self, connection: asyncpg.Connection, batch: Sequence[At], *, singly: bool
    ) -> tuple[list[Any], list[Any]]:
        """The items that are not filtered out or skipped, and what is to be written of each."""
        readable = [at.item for at in batch if at.error is None]
        if len(readable) < len(batch):
            await self._skip_unreadable(batch)
        process = self._step.process
        if process is None:
            return readable, readable
        skipped = self._context.counts.skipped
        if singly:
            values = [await self._processed_singly(connection, process, item) for item in readable]
        else:
            values = await self._processed_together(connection, process, readable)
        skipped = self._context.counts.skipped - skipped
        made = [value for value in values if value is not None]
        if len(made) == len(readable):
            return readable, made
        self._context.counts.filtered += len(readable) - len(made) - skipped
        return [item for item, value in zip(readable, values, strict=True) if value is not None], made

    async def _skip_unreadable(self, batch: Sequence[At]) -> None:
        for at in batch:
            if at.error is not None:
                await self._tries.skip("read", at.item, at.error)

    async def _processed_together(
        self, connection: asyncpg.Connection, process: Callable[..., Any], items: list[Any]
    ) -> list[Any]:
        """The value of each, None where it is skipped, without savepoints. Raises Spoilt where some are needed."""
        values, errors = await call_each(process, self._context, items)
        for index, error in errors.items():
            await self._tries.require_unspoilt(connection, error)
            values[index] = await self._processed_again(connection, process, items[index], error)
        return values

    async def _processed_again(
        self, connection: asyncpg.Connection, process: Callable[..., Any], item: Any, error: Exception
    ) -> Any:
        """Its value as the policies say; None where it is skipped."""
        attempt = 1
        while await self._tries.may_retry("process", error, attempt):
            (value,), errors = await call_each(process, self._context, [item])
            if not errors:
                return value
            error, attempt = errors[0], attempt + 1
            await self._tries.require_unspoilt(connection, error)
        await self._tries.skip("process", item, error)
        return None

    async def _processed_singly(self, connection: asyncpg.Connection, process: Callable[..., Any], item: Any) -> Any:
        """As above, each try in a savepoint."""

        async def processed() -> Any:
            (value,), errors = await call_each(process, self._context, [item])
            if errors:
                raise errors[0]
            return value

        value, error = await self._tries.in_savepoint(connection, "process", processed)
        if error is not None:
            await self._tries.skip("process", item, error)
        return value

    # Writing.

    async def _write(self, connection: asyncpg.Connection, items: list[Any], values: list[Any]) -> None:
        if not values:
            return
        if self._step.retry is None and self._step.skip is None:
            await self._write_values(values)
        elif (error := await self._written(connection, values)) is not None:
            if self._step.skip is None or not isinstance(error, self._step.skip.on):
                raise error
            await self._write_singly(connection, items, values)
            return
        self._context.counts.written += len(values)

    async def _written(self, connection: asyncpg.Connection, values: list[Any]) -> BaseException | None:
        """The last error, None once it is written."""
        _, error = await self._tries.in_savepoint(
            connection, "write", lambda: self._write_values(values), undo=self._open_writer
        )
        return error

    async def _write_singly(self, connection: asyncpg.Connection, items: list[Any], values: list[Any]) -> None:
        """A chunk that could not be written: each item by itself, to find those that are to blame."""
        for item, value in zip(items, values, strict=True):
            error = await self._written(connection, [value])
            if error is None:
                self._context.counts.written += 1
            else:
                await self._tries.skip("write", item, error)

    async def _write_values(self, values: list[Any]) -> None:
        writer = self._step.write
        await call(writer.write if hasattr(writer, "write") else writer, self._context, values)

    async def _open_writer(self) -> None:
        """Writers outside the database go back to what their state says is committed."""
        if hasattr(self._step.write, "open"):
            await call(self._step.write.open, self._context)

    async def _close_writer(self) -> None:
        if hasattr(self._step.write, "close"):
            await call(self._step.write.close, self._context)

    async def _stand_anew(self) -> None:
        """As the rows say: whether the last commit came through, nobody has answered."""
        stands = await self._connections.settled(lambda c: self._book.stand(c, self._instance, self._state))
        self._context.stand_at(stands.state, stands.counts)
        self._state.position = stands.position
