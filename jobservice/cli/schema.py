"""`schema`: put the tables into a database, or look whether they are what this code needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import database_url_of
from jobservice.cli.exits import Exit, tell
from jobservice.client.database import ClientDatabase
from jobservice.store import schema as stored


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Apply, check or print the database schema.")
    app.add_typer(group, name="schema")
    command(group, "apply")(apply)
    command(group, "check")(check)
    command(group, "print")(print_schema)


async def apply(
    call: Call,
    parameter_index: Annotated[
        bool, typer.Option("--parameter-index", help="Add an index for searches by parameter; costs throughput.")
    ] = False,
) -> None:
    """Bring the database to this version; nothing happens where it is there already."""
    schema = call.settings.database.schema_name
    async with _connected(call) as connection:
        version = await stored.apply(connection, schema, parameter_index=parameter_index)
    tell(f"schema {schema} is at version {version}")


async def check(call: Call) -> int:
    """Say whether the schema is current: exit status 0, or 6 when it is not."""
    async with _connected(call) as connection:
        state = await stored.check(connection, call.settings.database.schema_name)
    if call.json:
        call.output.document(
            {"schema": state.schema, "found": state.found, "wanted": state.wanted, "current": state.current}
        )
    else:
        call.output.text(state.describe())
    return Exit.OK if state.current else Exit.SCHEMA


def print_schema(call: Call) -> None:
    """Print the SQL that `apply` runs."""
    call.output.text(stored.ddl(call.settings.database.schema_name).rstrip("\n"))


@asynccontextmanager
async def _connected(call: Call) -> AsyncIterator[asyncpg.Connection]:
    database = ClientDatabase(url=database_url_of(call), statement_cache=True)
    try:
        async with database.use() as connection:
            yield connection
    finally:
        await database.close()
