"""Transactions whose fate can be asked for when the answer to their COMMIT was lost.

For work that comes as messages: done twice it would be wrong, not done it would be lost. Each waits for locks only
briefly, so that whoever holds one for long holds up his own message and nobody else's.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from jobservice.domain.errors import DatabaseUnavailable, InvalidSubmission, SchemaError, UnavailableError
from jobservice.store.failures import describe
from jobservice.store.session import Session
from jobservice.store.sql import load

T = TypeVar("T")

LOCK_TIMEOUT: Final = 0.5

_FILE = Path(__file__).with_suffix(".sql")
_REFUSALS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.StatementTooComplexError,
)
"""What the data is to blame for, and would be the next time too."""


class CommitInDoubt(DatabaseUnavailable):
    """The connection was lost while the transaction was being committed: it may have been, or not."""

    def __init__(self, transaction: str, value: Any) -> None:
        super().__init__(f"PostgreSQL was lost while it committed transaction {transaction}")
        self.transaction = transaction
        self.value = value
        """What the work had returned; true if it was committed."""


class Transactions:
    """Runs work in transactions of one session."""

    def __init__(self, *, session: Session) -> None:
        self._session = session
        self._sql = load(_FILE)

    async def run(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """What `work` returned, committed.

        Raises CommitInDoubt; DatabaseUnavailable (nothing was done; also when the schema or a right is missing);
        UnavailableError when something is locked (nothing was done); InvalidSubmission for data that is refused.
        """
        committing: tuple[str, T] | None = None
        with _translated():
            try:
                async with self._session.use() as connection:
                    async with connection.transaction():
                        number = await self._sql.begin_work(connection, lock_timeout=f"{LOCK_TIMEOUT:g}s")
                        value = await work(connection)
                        committing = (number, value)
                    return value
            except DatabaseUnavailable as error:
                if committing is not None:
                    raise CommitInDoubt(*committing) from error
                raise

    async def run_repeatable(self, statement: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """What one statement returned, committed by the server along with it: one round trip instead of four.

        For what finds its own work when it is sent again, and bounds its waits for locks itself. Raises as `run` does;
        after DatabaseUnavailable it may have been done.
        """
        with _translated():
            async with self._session.use() as connection:
                return await statement(connection)

    async def committed(self, doubt: CommitInDoubt) -> bool:
        """Whether that transaction was committed after all. UnavailableError while it is not decided."""
        try:
            async with self._session.use() as connection:
                fate = await self._sql.fate(connection, transaction=doubt.transaction)
        except asyncpg.InvalidParameterValueError:
            return False  # this server has never seen it: it is a copy that took over
        if fate in ("committed", "aborted"):
            return bool(fate == "committed")
        raise UnavailableError(f"transaction {doubt.transaction} is still {fate or 'unknown'}")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise DatabaseUnavailable(str(error)) from error
    except _REFUSALS as error:
        raise InvalidSubmission(f"the database refuses it: {describe(error)}", code="refused") from error
    except asyncpg.PostgresError as error:
        raise DatabaseUnavailable(f"PostgreSQL cannot do this now: {describe(error)}") from error
