"""Applies and checks the schema. `schema.sql` is the only DDL; later versions add numbered migrations beside it."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import asyncpg

from jobservice.domain.errors import SchemaError
from jobservice.store.sql import DEFAULT_SCHEMA, checked_schema_name

VERSION: Final = 1
"""The version this code writes. It runs on its own and on any newer one of the same major version (hundreds)."""

_LOCK: Final = 0x6A6F6273  # one applies at a time, over all schemas of a database: it is rare and short
_HEADER = re.compile(r"^(CREATE SCHEMA IF NOT EXISTS|SET search_path =) jobservice\b", re.MULTILINE)
_OBJECT = re.compile(
    r"^CREATE (?:OR REPLACE )?(TABLE|INDEX|SEQUENCE|FUNCTION|TRIGGER) (?:IF NOT EXISTS )?(\w+)", re.MULTILINE
)
_GIN = "CREATE INDEX IF NOT EXISTS job_info_parameters ON {schema}.job_info USING gin (parameters jsonb_path_ops)"
_MISSING = """
  SELECT w.kind || ' ' || w.name AS what FROM unnest($2::text[], $3::text[]) WITH ORDINALITY w (kind, name, n)
  WHERE NOT CASE w.kind
    WHEN 'function' THEN EXISTS (SELECT FROM pg_proc WHERE pronamespace = to_regnamespace($1) AND proname = w.name)
    WHEN 'trigger' THEN EXISTS (SELECT FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                                WHERE c.relnamespace = to_regnamespace($1) AND t.tgname = w.name)
    ELSE EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relname = w.name) END
  ORDER BY w.n"""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What `check` found. `found` is None when there is no schema; `missing` names what should be in it and is not."""

    schema: str
    found: int | None
    wanted: int = VERSION
    missing: tuple[str, ...] = ()

    @property
    def current(self) -> bool:
        """Whether this code can run on it."""
        return self._fits and not self.missing

    @property
    def _fits(self) -> bool:
        return self.found is not None and self.wanted <= self.found < (self.wanted // 100 + 1) * 100

    def describe(self) -> str:
        """One sentence: what is there and what to do."""
        if self.found is None:
            return f"schema {self.schema!r} is missing; run `jobservice schema apply`"
        it_is = f"schema {self.schema!r} is version {self.found}"
        if self.found < self.wanted:
            return f"{it_is}, older than {self.wanted}; run `jobservice schema apply`"
        if not self._fits:
            return f"{it_is}, newer than this program can use ({self.wanted}); update the program"
        if self.missing:
            return f"{it_is}, but lacks {', '.join(self.missing)}; run `jobservice schema apply`"
        return it_is


def ddl(schema: str = DEFAULT_SCHEMA) -> str:
    """The text of `schema.sql` for this schema's name."""
    shipped = files("jobservice.store").joinpath("schema.sql")
    source = shipped if shipped.is_file() else Path(__file__).resolve().parents[2] / "schema.sql"
    return _HEADER.sub(rf"\1 {checked_schema_name(schema)}", source.read_text(encoding="utf-8"))


async def apply(connection: asyncpg.Connection, schema: str = DEFAULT_SCHEMA, *, parameter_index: bool = False) -> int:
    """Brings the schema to this code's version, once, whoever else tries at the same time; returns the version.

    `parameter_index` adds a GIN index for searches by parameter, which costs throughput. SchemaError when the
    schema found is newer than this code.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        before = await check(connection, schema)
        if before.found is not None and before.found > VERSION:
            if not before.current:
                raise SchemaError(before.describe())
            return before.found
        previous = await connection.fetchval("SELECT current_setting('search_path')")
        await connection.execute(ddl(schema))
        if parameter_index:
            await connection.execute(_GIN.format(schema=checked_schema_name(schema)))
        await connection.execute("SELECT set_config('search_path', $1, false)", previous)
    return VERSION


async def check(connection: asyncpg.Connection, schema: str = DEFAULT_SCHEMA) -> SchemaState:
    """Looks; changes nothing."""
    name = checked_schema_name(schema)
    known = await connection.fetchval("SELECT to_regclass($1::text) IS NOT NULL", f"{name}.schema_version")
    found = await connection.fetchval(f"SELECT max(version) FROM {name}.schema_version") if known else None
    missing = await _missing(connection, name) if found is not None else ()
    return SchemaState(schema=schema, found=found, missing=missing)


async def _missing(connection: asyncpg.Connection, schema: str) -> tuple[str, ...]:
    kinds, names = _objects()
    rows = await connection.fetch(_MISSING, schema, kinds, names)
    return tuple(row["what"] for row in rows)


@cache
def _objects() -> tuple[list[str], list[str]]:
    """What `schema.sql` makes: the kinds and, in the same order, the names."""
    found = _OBJECT.findall(ddl())
    return [kind.lower() for kind, _ in found], [name for _, name in found]


async def require(connection: asyncpg.Connection, schema: str = DEFAULT_SCHEMA) -> None:
    """SchemaError unless this code can run on the schema."""
    state = await check(connection, schema)
    if not state.current:
        raise SchemaError(state.describe())
