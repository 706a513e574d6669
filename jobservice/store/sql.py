"""Loads the `-- name:` blocks of .sql files (aiosql) and puts the schema's name in.

The files name every table with the default schema, `jobservice.`, so that they can be read and tried in psql and
work through a transaction pooler; another name replaces that word here, once.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import aiosql

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
    return aiosql.from_str(text, "asyncpg")
