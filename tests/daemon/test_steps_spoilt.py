"""A statement of `process` that fails spoils the chunk's transaction: the item is to blame, not the chunk."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from step_scene import Scene

from jobservice.sdk.steps import At, Chunk, Listener, RetryPolicy, SkipPolicy
from jobservice.steps.tries import SkipLimitReached

TAKEN = asyncpg.UniqueViolationError


class Diary(Listener):
    """What it was told of chunks and items."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def before_chunk(self, context: Any) -> None:
        self.lines.append("before")

    async def after_chunk(self, context: Any) -> None:
        self.lines.append("after")

    async def on_chunk_error(self, context: Any, error: BaseException) -> None:
        self.lines.append(f"error {type(error).__name__}")

    async def on_skip(self, context: Any, where: str, item: Any, error: BaseException) -> None:
        self.lines.append(f"skip {where} {item} {type(error).__name__}")


async def read(context: Any, after: Any) -> AsyncIterator[At]:
    for item in range((after or 0) + 1, 31):
        yield At(item, item)


async def once(context: Any, item: int) -> int:
    """Notes the item in a table; 4, 15 and 16 are there already."""
    context.state["seen"] = [*context.state.get("seen", []), item]
    await context.connection.execute("INSERT INTO noted VALUES ($1)", item)
    return item


class Breaks(Listener):
    """Its statements fail, one in the open and one that it keeps to itself."""

    async def before_chunk(self, context: Any) -> None:
        await context.connection.execute("SELECT 1 / 0")

    async def on_skip(self, context: Any, where: str, item: Any, error: BaseException) -> None:
        with suppress(asyncpg.DivisionByZeroError):
            await context.connection.execute("SELECT 1 / 0")


@pytest.fixture
async def noted(scene: Scene) -> Scene:
    await scene.direct.execute(
        """DROP TABLE IF EXISTS noted; CREATE TABLE noted (item integer PRIMARY KEY);
           INSERT INTO noted VALUES (4), (15), (16)"""
    )
    return scene


async def numbers(scene: Scene, table: str) -> list[int]:
    rows = await scene.direct.fetch(f"SELECT * FROM {table} ORDER BY 1")
    return [row[0] for row in rows]


GOOD = [item for item in range(1, 31) if item not in (4, 15, 16)]


async def test_an_item_whose_statement_fails_is_skipped_and_all_others_are_processed_and_written(
    noted: Scene,
) -> None:
    state, diary = await noted.begun("copy"), Diary()
    step = Chunk("copy", read=read, process=once, write=noted.write, size=10, skip=SkipPolicy(on=TAKEN, limit=3))

    await noted.run(state, diary).chunks(step, state)

    counts = state.counts
    assert (await numbers(noted, "target"), await numbers(noted, "noted")) == (GOOD, list(range(1, 31)))
    assert (counts.read, counts.skipped, counts.written, counts.filtered) == (30, 3, 27, 0)
    assert (counts.commits, counts.rollbacks) == (3, 2)
    rescanned = ["before", "error UniqueViolationError", "before"]
    skips = {item: f"skip process {item} UniqueViolationError" for item in (4, 15, 16)}
    assert diary.lines == [*rescanned, skips[4], "after", *rescanned, skips[15], skips[16], "after", "before", "after"]


async def test_a_listener_whose_statement_fails_harms_no_chunk(noted: Scene) -> None:
    state, diary = await noted.begun("copy"), Diary()
    step = Chunk("copy", read=read, process=once, write=noted.write, size=30, skip=SkipPolicy(on=TAKEN, limit=3))

    await noted.run(state, Breaks(), diary).chunks(step, state)

    assert await numbers(noted, "target") == GOOD
    assert (state.counts.skipped, state.counts.commits) == (3, 1)
    assert diary.lines[-1] == "after"


async def test_the_state_is_that_of_the_items_whose_statements_stand(noted: Scene) -> None:
    state = await noted.begun("copy")
    step = Chunk("copy", read=read, process=once, write=noted.write, size=10, skip=SkipPolicy(on=TAKEN, limit=3))

    await noted.run(state).chunks(step, state)

    assert state.state["seen"] == GOOD


async def test_an_error_that_was_made_another_one_by_the_function_is_found_all_the_same(noted: Scene) -> None:
    async def told(context: Any, item: int) -> int:
        try:
            return await once(context, item)
        except TAKEN as error:
            raise ValueError(f"{item} was there") from error

    state = await noted.begun("copy")
    step = Chunk("copy", read=read, process=told, write=noted.write, size=10, skip=SkipPolicy(on=ValueError, limit=3))

    await noted.run(state).chunks(step, state)

    assert (await numbers(noted, "target"), state.counts.skipped) == (GOOD, 3)


async def test_an_error_that_the_function_keeps_to_itself_costs_its_item_and_no_other(noted: Scene) -> None:
    async def silent(context: Any, item: int) -> int:
        with suppress(TAKEN):
            await once(context, item)
        return item

    state = await noted.begun("copy")
    spoilt = SkipPolicy(on=asyncpg.InFailedSQLTransactionError, limit=3)
    step = Chunk("copy", read=read, process=silent, write=noted.write, size=10, skip=spoilt)

    await noted.run(state).chunks(step, state)

    assert (await numbers(noted, "target"), state.counts.skipped) == (GOOD, 3)


async def test_a_statement_that_succeeds_when_it_is_tried_again_costs_nothing(noted: Scene) -> None:
    async def makes_room(context: Any, item: int) -> int:
        try:
            async with context.connection.transaction():
                await context.connection.execute("SELECT 1")
            return await once(context, item)
        except TAKEN:
            await noted.direct.execute("DELETE FROM noted WHERE item = $1", item)
            raise

    state = await noted.begun("copy")
    retry = RetryPolicy(on=TAKEN, times=1, backoff=0)
    step = Chunk("copy", read=read, process=makes_room, write=noted.write, size=10, retry=retry)

    await noted.run(state).chunks(step, state)

    assert (await numbers(noted, "target"), state.counts.skipped) == (list(range(1, 31)), 0)


@pytest.mark.parametrize(
    ("policies", "error"),
    [
        ({}, TAKEN),
        ({"skip": SkipPolicy(on=KeyError, limit=9)}, TAKEN),
        ({"skip": SkipPolicy(on=TAKEN, limit=2)}, SkipLimitReached),
    ],
)
async def test_what_no_policy_lets_pass_fails_the_step_with_its_own_error(
    noted: Scene, policies: dict[str, Any], error: type[Exception]
) -> None:
    state = await noted.begun("copy")
    step = Chunk("copy", read=read, process=once, write=noted.write, size=10, **policies)

    with pytest.raises(error):
        await noted.run(state).chunks(step, state)

    committed = 10 if error is SkipLimitReached else 0
    assert await numbers(noted, "target") == [item for item in GOOD if item <= committed]
    row = await noted.direct.fetchrow("SELECT status, error_type FROM jobservice.step_execution")
    assert tuple(row) == ("FAILED", error.__name__)


async def test_chunks_without_a_failure_have_no_savepoints_for_their_items(
    noted: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    execute = asyncpg.Connection.execute

    async def heard(connection: asyncpg.Connection, query: str, *arguments: Any, **options: Any) -> str:
        said.append(query)
        return await execute(connection, query, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, "execute", heard)
    await noted.direct.execute("TRUNCATE noted")
    found = []
    for name, process in (("plain", None), ("noted", once)):
        said.clear()
        state = await noted.begun(name)
        step = Chunk(name, read=read, process=process, write=noted.write, size=10, skip=SkipPolicy(on=TAKEN, limit=3))
        await noted.run(state).chunks(step, state)
        found.append(sum(query.startswith("SAVEPOINT") for query in said))

    assert found == [3, 3]
    assert await numbers(noted, "noted") == list(range(1, 31))
