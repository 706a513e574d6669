"""A table read by its key: pages, parts of equal numbers of rows, keys of any type."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import asyncpg
import pytest
from pydantic import BaseModel
from seen import seen

from jobservice.batch import BatchError, KeysetReader


class Plan(BaseModel):
    loan: str
    term: date
    amount: int


@pytest.fixture
async def context(empty_database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(
        "CREATE TABLE plan (loan text, term date, amount integer, PRIMARY KEY (loan, term)); CREATE TABLE t (id int)"
    )
    context = seen(loan="L1")
    context.connection = connection
    yield context
    await connection.close()


async def fill(context: Any, rows: int) -> None:
    await context.connection.execute(
        """INSERT INTO plan SELECT 'L' || n % 4, date '2026-01-01' + n, n FROM generate_series(0, $1 - 1) n""", rows
    )


async def items(reader: KeysetReader, context: Any, after: Any = None) -> list[Any]:
    return [at.item async for at in reader.read(context, after)]


READER = KeysetReader("plan", ("loan", "term"), Plan, page=3)
IN_ORDER = "SELECT array_agg(amount ORDER BY loan, term) FROM plan"


@pytest.mark.parametrize("rows", [0, 1, 3, 20, 25])
async def test_ten_parts_of_a_table_are_of_equal_size_and_together_the_whole(context: Any, rows: int) -> None:
    await fill(context, rows)

    ranges = await READER.plan(context, 10)
    parts = [context.part(index, ranges) for index in range(len(ranges))]
    read = [await items(READER, part) for part in parts]

    assert [item.amount for part in read for item in part] == (await context.connection.fetchval(IN_ORDER) or [])
    assert [len(part) for part in read] == [await READER.count(part) for part in parts]
    assert len(read) == min(rows, 10)
    assert {len(part) for part in read} <= {rows // 10, rows // 10 + 1}


async def test_reading_goes_on_behind_any_key(context: Any) -> None:
    await fill(context, 11)
    whole = [at async for at in READER.read(context, None)]

    for done, at in enumerate(whole, start=1):
        assert await items(READER, context, at.position) == [each.item for each in whole[done:]]


async def test_a_query_with_parameters_of_the_job_is_read_like_a_table(context: Any) -> None:
    await fill(context, 20)
    reader = KeysetReader(
        "SELECT term, amount FROM plan WHERE loan = $1", "term", page=2, arguments=lambda context: [context.job.loan]
    )

    ranges = await reader.plan(context, 2)
    parts = [await items(reader, context.part(index, ranges)) for index in range(2)]

    assert [[item["amount"] for item in part] for part in parts] == [[1, 5, 9], [13, 17]]


@pytest.mark.parametrize("kind", ["bigint", "numeric", "uuid", "timestamptz", "text", "float8", "date"])
async def test_keys_of_any_type_with_an_order_are_read(context: Any, kind: str) -> None:
    made = {"uuid": "md5(n::text)::uuid", "timestamptz": "now() + n * interval '1.000001 s'", "text": "'a\"''' || n"}
    value = made.get(kind, "current_date + n" if kind == "date" else f"(n / 7.0)::{kind}")
    await context.connection.execute(
        f"""CREATE TABLE typed ("the key" {kind} PRIMARY KEY);
            INSERT INTO typed SELECT DISTINCT {value} FROM generate_series(1, 30) n"""
    )

    found = await items(KeysetReader("public.typed", "the key", page=1), context)

    wanted = await context.connection.fetchval('SELECT array_agg("the key" ORDER BY "the key") FROM typed')
    assert [item["the key"] for item in found] == wanted


@pytest.mark.parametrize(("values", "told"), [("(1), (2), (2), (3)", "not unique"), ("(1), (NULL)", "is NULL")])
@pytest.mark.parametrize("page", [1, 2, 3])
async def test_a_key_that_is_not_unique_or_null_is_refused(context: Any, values: str, told: str, page: int) -> None:
    await context.connection.execute(f"INSERT INTO t VALUES {values}")

    with pytest.raises(BatchError, match=told):
        await items(KeysetReader("t", "id", page=page), context)


async def test_a_page_is_found_by_the_index_of_its_key(context: Any) -> None:
    await fill(context, 5000)
    await context.connection.execute("ANALYZE plan")
    types = await READER._types(context)
    where, values = READER._where(context, types, ["L2", "2026-03-01"], None)

    plan = await context.connection.fetch(
        f"EXPLAIN (FORMAT TEXT) SELECT * FROM plan{where} ORDER BY loan, term LIMIT 4", *values
    )

    assert any("Index Scan" in row[0] for row in plan), plan
