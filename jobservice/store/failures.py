"""Translates the driver's errors into ours, at this edge only."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from jobservice.domain.errors import DatabaseUnavailable, InvalidSubmission, SchemaError, UnavailableError

CONNECTION_LOST: tuple[type[BaseException], ...] = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""After these the connection is dropped and the statement's fate is unknown."""

TRY_AGAIN: tuple[type[BaseException], ...] = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
"""After these the same statement may simply be sent again."""

_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
)

_MISSING = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Raises our errors for the driver's: DatabaseUnavailable, SchemaError, InvalidSubmission."""
    try:
        yield
    except asyncpg.TooManyConnectionsError as error:
        raise DatabaseUnavailable(
            f"PostgreSQL has no connection left: {describe(error)}; look at max_connections, and at the "
            "CONNECTION LIMIT of role and database"
        ) from error
    except CONNECTION_LOST as error:
        raise DatabaseUnavailable(f"PostgreSQL cannot be reached: {describe(error)}") from error
    except TRY_AGAIN as error:
        raise UnavailableError(f"PostgreSQL is busy: {describe(error)}") from error
    except asyncpg.ObjectNotInPrerequisiteStateError as error:  # a daemon that is lost and has not heard of it yet
        raise UnavailableError(f"PostgreSQL refuses: {describe(error)}") from error
    except _REFUSED as error:
        raise DatabaseUnavailable(f"PostgreSQL refuses: {describe(error)}; look at database_url") from error
    except _MISSING as error:
        raise SchemaError(
            f"the schema is missing or does not fit: {describe(error)}; run `jobservice schema apply`"
        ) from error
    except asyncpg.InvalidParameterValueError as error:
        raise refusal(error) from error


def refusal(error: asyncpg.PostgresError) -> Exception:
    """The InvalidSubmission that `submit` meant; the error itself when it was not `submit`'s."""
    try:
        detail = json.loads(error.detail or "")
        return InvalidSubmission(
            str(error.message), code=detail["code"], field=detail.get("field"), index=detail.get("index")
        )
    except (ValueError, KeyError, TypeError):
        return error


def describe(error: BaseException) -> str:
    """One line: the text, or the type's name where there is none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
