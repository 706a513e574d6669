"""The savepoint in which a user's code is called inside a transaction of ours: what its statements break is undone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


class Spoilt(Exception):
    """The transaction takes no more statements, since one has failed outside of a savepoint; the cause tells it."""


def of_user(error: BaseException) -> BaseException:
    """What a user's code has raised."""
    return error.__cause__ if isinstance(error, Spoilt) and error.__cause__ is not None else error


@asynccontextmanager
async def savepoint(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Goes back to before it where it is left by an error. Raises Spoilt where none can be made any more."""
    # Not the driver's: where its release is refused, since a user's function has kept its statement's error to itself,
    # it does not go back.
    try:
        await connection.execute("SAVEPOINT tried")
    except asyncpg.InFailedSQLTransactionError as error:
        raise Spoilt from error
    try:
        yield
        await connection.execute("RELEASE SAVEPOINT tried")
    except BaseException:
        await connection.execute("ROLLBACK TO SAVEPOINT tried; RELEASE SAVEPOINT tried")
        raise
