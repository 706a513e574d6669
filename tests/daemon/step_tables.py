"""The tables of the trial jobs with steps, and what tests of them ask."""

import pytest
from daemons import Books, until
from trial_jobs.steps import DIARY
from trial_jobs.steps_broken import TRIED


class StepTables(Books):
    """Books with `source`, `target`, `tally`, `door`, `knock` and `dice`."""

    async def make(self, database_url: str, monkeypatch: pytest.MonkeyPatch, items: int = 95) -> None:
        monkeypatch.setenv("TRIAL_DATABASE_URL", database_url)
        await self.connection.execute(
            """DROP TABLE IF EXISTS source, target, tally, door, knock, dice;
               DROP SEQUENCE IF EXISTS throws;
               CREATE TABLE source (id integer PRIMARY KEY, value integer);
               CREATE TABLE target (value integer, note text);
               CREATE TABLE tally (value integer);
               CREATE TABLE door (id integer);
               CREATE TABLE knock (chunks integer);
               CREATE TABLE dice (item integer, fails integer);
               CREATE SEQUENCE throws"""
        )
        await self.connection.execute("INSERT INTO source SELECT n, n FROM generate_series(1, $1::integer) n", items)
        DIARY.lines.clear()
        TRIED.clear()

    async def open_door(self, chunks: int = 1) -> None:
        await self.connection.execute("INSERT INTO door SELECT n FROM generate_series(1, $1::integer) n", chunks)

    async def copied(self, rows: int) -> None:
        async def there() -> bool:
            return bool(await self.value("SELECT count(*) >= $1 FROM target", rows))

        await until(there, f"{rows} rows are copied")

    async def at_the_door(self, *, behind: int, parts: int = 1) -> None:
        """Waits until so many have begun the chunk behind that many committed ones: all that they do before it is done.

        Once rows are seen to be copied, those who copied them may not know it yet, and begin the next chunk or not.
        """

        async def knocked() -> bool:
            return bool(await self.value("SELECT count(*) >= $2 FROM knock WHERE chunks = $1", behind, parts))

        await until(knocked, f"{parts} x chunk {behind + 1} is begun")

    async def all_copied(self) -> str:
        return str(await self.value("SELECT count(*) || ' ' || count(DISTINCT value) FROM target"))
