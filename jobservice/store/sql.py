"""Loads the `-- name:` blocks of .sql files (aiosql) and puts the schema's name in.

The files name every table with the default schema, `jobservice.`, so that they can be read and tried in psql and
work through a transaction pooler; another name replaces that word here, once.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import aiosql
from aiosql.adapters.asyncpg import AsyncPGAdapter

DEFAULT_SCHEMA = "jobservice"
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_QUALIFIER = re.compile(r"\bjobservice\.")


def checked_schema_name(schema: str) -> str:
    """The name itself; ValueError unless it is a plain lower-case identifier of at most 40 characters."""
    if not _SCHEMA_NAME.fullmatch(schema):
        raise ValueError(f"schema name {schema!r} must match [a-z_][a-z0-9_]{{0,39}}")
    return schema


@cache
def load(file: Path, schema: str = DEFAULT_SCHEMA) -> Any:
    """The queries of `file` for `schema`, as aiosql's object with one coroutine for each name."""
    text = file.read_text(encoding="utf-8")
    if checked_schema_name(schema) != DEFAULT_SCHEMA:
        text = _QUALIFIER.sub(f"{schema}.", text)
    return aiosql.from_str(text, _Straight)


class _Straight(AsyncPGAdapter):
    """aiosql's own asks each connection by `dir()` whether it is a pool: a quarter of what a call costs here."""

    async def select(self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None) -> Any:
        for row in await conn.fetch(sql, *self._values(query_name, parameters)):
            yield row

    async def select_one(self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None) -> Any:
        return await conn.fetchrow(sql, *self._values(query_name, parameters))

    async def select_value(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.fetchval(sql, *self._values(query_name, parameters))

    async def insert_update_delete(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.execute(sql, *self._values(query_name, parameters))

    def _values(self, query_name: str, parameters: Any) -> list[Any]:
        return [parameters[name] for name in self.var_sorted[query_name]]
