"""Reads a table or a query in the order of a unique key, page by page, so that no statement and no snapshot is long.

Positions and the bounds of parts are the key's values as PostgreSQL writes them, cast back to their types: any type
with an order will do. Statements are put together here, since their table and key are the user's; names are quoted.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from typing import Any, Final

from jobservice.batch.errors import BatchError
from jobservice.batch.records import Problem, Records
from jobservice.domain.errors import DefinitionError
from jobservice.sdk.steps import At, Range, StepContext

KEY: Final = "$key"
"""The column that is added to what is read."""


class KeysetReader:
    """For `Chunk(read=…)`: `read`, `count`, and `plan` of ranges with the same number of rows each."""

    needs_connection = True

    def __init__(
        self,
        source: str,
        key: str | Sequence[str],
        record: Any = dict,
        *,
        arguments: Callable[[StepContext], Sequence[Any]] | None = None,
        page: int = 1000,
    ) -> None:
        """`source`: a table, or a SELECT without its ORDER BY, whose $1, $2, … are what `arguments(context)` gives.

        `key`: one or more columns that are unique together and never NULL, best those of an index.
        """
        self._from = f"({source})" if re.match(r"\s*(select|with|values)\b", source, re.IGNORECASE) else _table(source)
        self._key = (key,) if isinstance(key, str) else tuple(key)
        if not self._key or page < 1:
            raise DefinitionError("a KeysetReader needs a key, and pages of 1 or more rows")
        self._names = ", ".join(_quoted(name) for name in self._key)
        self._texts = ", ".join(f"{_quoted(name)}::text" for name in self._key)
        self._records = Records(record)
        self._arguments = arguments
        self._page = page

    async def read(self, context: StepContext, after: Sequence[str] | None = None) -> AsyncIterator[At]:
        """All rows behind a key, of the part where there are parts; what is no record with its error."""
        start = after if after is not None else context.partition.low
        if start is None:
            await self._refuse_null(context)
        last = start
        types = await self._types(context)
        while True:
            rows = await self._rows(context, types, last, context.partition.high)
            if any(row[KEY] == (rows[place - 1][KEY] if place else last) for place, row in enumerate(rows)):
                raise BatchError(f"the key ({self._names}) of {self._from} is not unique")
            here = rows[: self._page]
            items = self._records.validated([{k: v for k, v in row.items() if k != KEY} for row in here])
            for row, item in zip(here, items, strict=True):
                error = _bad(row[KEY], item) if isinstance(item, Problem) else None
                yield At(row[KEY], None if error else item, error)
            if len(rows) <= self._page:
                return
            last = here[-1][KEY]

    async def count(self, context: StepContext) -> int:
        """How many rows there are, in the part where there are parts."""
        types = await self._types(context)
        where, values = self._where(context, types, context.partition.low, context.partition.high)
        return int(await context.connection.fetchval(f"SELECT count(*) FROM {self._from} AS source{where}", *values))

    async def plan(self, context: StepContext, parts: int) -> list[Range]:
        """At most `parts` ranges with as many rows each as can be; the outer ends are open. None without rows."""
        await self._refuse_null(context)
        values = self._given(context)
        found = await context.connection.fetch(
            f"""SELECT DISTINCT ON (tile) ARRAY[{self._texts}] AS "{KEY}"
                FROM (SELECT {self._names}, ntile(${len(values) + 1}) OVER (ORDER BY {self._names}) AS tile
                      FROM {self._from} AS source) AS tiles
                ORDER BY tile, {", ".join(f"{_quoted(name)} DESC" for name in self._key)}""",
            *values,
            parts,
        )
        if not found:
            return []
        ends = [None, *(row[KEY] for row in found[:-1]), None]
        return [Range(low, high) for low, high in pairwise(ends)]

    async def _rows(self, context: StepContext, types: Sequence[str], low: Any, high: Any) -> list[Any]:
        where, values = self._where(context, types, low, high)
        # One row more than a page: it tells whether there is another, and a key that is there twice at its edge.
        query = f"""SELECT source.*, ARRAY[{self._texts}] AS "{KEY}" FROM {self._from} AS source{where}
                    ORDER BY {self._names} LIMIT {self._page + 1}"""
        return list(await context.connection.fetch(query, *values))

    def _where(self, context: StepContext, types: Sequence[str], low: Any, high: Any) -> tuple[str, list[Any]]:
        values = self._given(context)
        terms = []
        for sign, bound in ((">", low), ("<=", high)):
            if bound is not None:
                casts = [f"${len(values) + place}::text::{kind}" for place, kind in enumerate(types, start=1)]
                terms.append(f"({self._names}) {sign} ({', '.join(casts)})")
                values += bound
        return (f" WHERE {' AND '.join(terms)}" if terms else ""), values

    async def _types(self, context: StepContext) -> list[str]:
        """Of the key's columns: asked once for all pages."""
        statement = await context.connection.prepare(f"SELECT {self._names} FROM {self._from} AS source LIMIT 0")
        kinds = [attribute.type for attribute in statement.get_attributes()]
        return [f"{_quoted(kind.schema)}.{_quoted(kind.name)}" for kind in kinds]

    async def _refuse_null(self, context: StepContext) -> None:
        null = " OR ".join(f"{_quoted(name)} IS NULL" for name in self._key)
        query = f"SELECT EXISTS (SELECT FROM {self._from} AS source WHERE {null})"
        if await context.connection.fetchval(query, *self._given(context)):
            raise BatchError(f"the key ({self._names}) of {self._from} is NULL in some rows: they would not be read")

    def _given(self, context: StepContext) -> list[Any]:
        return list(self._arguments(context)) if self._arguments is not None else []


def _bad(key: Sequence[str], problem: Problem) -> BatchError:
    return BatchError(f"row {', '.join(key)}{f', field {problem.field}' if problem.field else ''}: {problem.text}")


def _table(name: str) -> str:
    return ".".join(_quoted(part) for part in name.split("."))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
