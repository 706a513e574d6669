"""What a user's function may fail: how often it is tried again, what is left out, and the savepoints of both.

Used by the chunk loop, in the chunk's transaction. Never decides what is committed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from jobservice.domain.errors import JobAborted, JobServiceError
from jobservice.sdk.steps import Chunk, RetryPolicy
from jobservice.steps.calling import Listeners
from jobservice.steps.connections import is_lost
from jobservice.steps.context import Context
from jobservice.steps.savepoints import Spoilt, savepoint


class SkipLimitReached(JobServiceError):
    """More items had to be left out than the step allows; the cause is the last one's error."""


class Tries:
    """By the policies of one step."""

    def __init__(self, step: Chunk, context: Context, listeners: Listeners) -> None:
        self._step = step
        self._context = context
        self._listeners = listeners

    async def skip(self, where: str, item: Any, error: BaseException) -> None:
        """Counts and tells what is left out. Raises what may not be, and SkipLimitReached."""
        policy = self._step.skip
        if policy is None or not isinstance(error, policy.on):
            raise error
        self._context.counts.skipped += 1
        if self._context.counts.skipped > policy.limit:
            raise SkipLimitReached(
                f"step {self._step.name}: more than {policy.limit} items to be skipped; the last in {where}: {error}"
            ) from error
        await self._listeners.tell("on_skip", self._context, where, item, error)

    async def may_retry(self, where: str, error: BaseException, attempt: int) -> bool:
        """Waits for the next try, where there is one."""
        policy = self._step.retry
        if policy is None or attempt > policy.times or not isinstance(error, policy.on):
            return False
        await self._listeners.tell("on_retry", self._context, where, error, attempt)
        await asyncio.sleep(delay_of(policy, attempt, error))
        return True

    async def require_unspoilt(self, connection: asyncpg.Connection, error: Exception) -> None:
        """Raises Spoilt where the transaction takes no more statements; the error itself where no policy may help."""
        if self._step.skip is None and self._step.retry is None:
            raise error
        try:
            await connection.execute("SELECT")
        except asyncpg.InFailedSQLTransactionError:
            raise Spoilt from error

    async def in_savepoint(
        self,
        connection: asyncpg.Connection,
        where: str,
        work: Callable[[], Awaitable[Any]],
        *,
        undo: Callable[[], Awaitable[None]] | None = None,
    ) -> tuple[Any, Exception | None]:
        """Tries it, again as the policy says, each time in a savepoint: its value, or the last error.

        `undo` is awaited after each failure. Raises Spoilt where no savepoint can be made any more.
        """
        attempt = 1
        while True:
            before = self._context.remember()
            try:
                async with savepoint(connection):
                    return await work(), None
            except (JobAborted, Spoilt):
                raise
            except Exception as error:  # what a user's function raises; the policies decide
                if is_lost(error, connection):
                    raise
                self._context.go_back(before)
                if undo is not None:
                    await undo()
                if not await self.may_retry(where, error, attempt):
                    return None, error
                attempt += 1


def delay_of(policy: RetryPolicy, attempt: int, error: BaseException) -> float:
    """Seconds until the next try."""
    backoff = policy.backoff
    return float(backoff(attempt, error)) if callable(backoff) else float(backoff)
