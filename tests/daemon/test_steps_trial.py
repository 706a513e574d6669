"""Everything at once: functions that fail by chance, daemons that are killed, stops, restarts of every kind.

In the end all must be as if nothing had happened. One round here, fifty by
`STEP_TRIALS=50 ./dev test tests/daemon/test_steps_trial.py`.
"""

import asyncio
import json
import os
import random
import signal
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from daemons import Process, Processes, until
from step_tables import StepTables

from jobservice.client.service import JobInfoService
from jobservice.lifecycle.commands import Commands

ROUNDS = int(os.environ.get("STEP_TRIALS", "1"))
ITEMS = 120
KILLS, STOPS = (1, 3) if ROUNDS == 1 else (2, 4)
WATCHFUL = {
    "daemon__lease": 2.0, "daemon__heartbeat": 0.3, "daemon__max_lost_runs": 1000, "pool__stop_grace": 30.0,
}  # fmt: skip


class Trial:
    """One job's way through it."""

    def __init__(
        self, *, kept: StepTables, disturbed: StepTables, processes: Processes, directory: Path, seed: int
    ) -> None:
        """Two connections: one to look after the job, one to disturb it."""
        self.tables = kept
        self.disturbed = disturbed
        self.processes = processes
        self.database_url = processes.database_url
        self.directory = directory
        self.dice = random.Random(seed)
        self.calm = directory / "calm"
        self.job_id = UUID(int=0)
        self.told: list[str] = []

    async def submit(self) -> None:
        self.job_id = await self.tables.submit("FailsByChance", {"directory": str(self.directory)})

    async def begin_again(self) -> None:
        """In one of the ways there are."""
        way = self.dice.choice(("job", "instance", "new"))
        self.told.append(f"restart by {way}")
        async with JobInfoService.connect(self.database_url) as jobs:
            instance = await jobs.instances.of(self.job_id)
            if way == "new" or instance is None:
                await self.submit()
            elif way == "instance":
                await jobs.instances.restart(instance.instance_id)
            else:
                await Commands().restart(self.tables.connection, [self.job_id])

    async def look_after(self) -> None:
        """Begins again whatever has ended badly, until it ends well."""
        while (job := await self._ended())["status"] != "SUCCEEDED":
            self.told.append(f"{job['status']} {job['error_type']}")
            assert job["status"] == "ABORTED" or "by chance" in job["error_message"], job["error_message"]
            await self.begin_again()

    async def _ended(self) -> asyncpg.Record:
        return await self.tables.is_in(self.job_id, "SUCCEEDED", "FAILED", "ABORTED", seconds=300)

    async def disturb(self, daemons: list[Process], keeper: "asyncio.Task[None]") -> None:
        deeds = [*["kill"] * KILLS, *["stop"] * STOPS]
        self.dice.shuffle(deeds)
        for deed in deeds:
            await self._go_on(self.dice.randrange(15), keeper)
            self.told.append(deed)
            if deed == "stop":
                await self.disturbed.stop(self.job_id)
                continue
            victim = daemons.pop(self.dice.randrange(len(daemons)))
            victim.send(signal.SIGKILL)
            await victim.ended()
            daemons.append(await self.processes.start(**WATCHFUL))

    async def _go_on(self, chunks: int, keeper: "asyncio.Task[None]") -> None:
        """Until so many more chunks are committed, or the job has ended."""
        query = "SELECT coalesce(sum(commits) FILTER (WHERE part >= 0), 0) FROM jobservice.step_execution"
        enough = await self.disturbed.value(query) + chunks

        async def so_far() -> bool:
            return bool(keeper.done() or await self.disturbed.value(query) >= enough)

        await until(so_far, f"{enough} commits")


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_failures_kills_stops_and_restarts_at_once_leave_no_trace(
    seed: int, processes: Processes, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIAL_CALM", str(tmp_path / "calm"))
    rows = "".join(f'{n},"a\n""{n}"", b"\n' if n % 7 == 0 else f"{n},plain {n}\n" for n in range(ITEMS))
    (tmp_path / "source.csv").write_text(f"No,note\n{rows}")
    pool = asyncpg.create_pool(database_url, min_size=2, max_size=2)
    async with pool, pool.acquire() as one, pool.acquire() as other:
        tables = StepTables(one)
        await tables.make(database_url, monkeypatch, items=0)
        trial = Trial(kept=tables, disturbed=StepTables(other), processes=processes, directory=tmp_path, seed=seed)
        await trial.submit()
        daemons = [await processes.start(**WATCHFUL), await processes.start(**WATCHFUL)]
        keeper = asyncio.create_task(trial.look_after())

        await trial.disturb(daemons, keeper)
        trial.calm.touch()
        await keeper

        assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "source.csv").read_bytes(), trial.told
        assert await tables.all_copied() == f"{ITEMS} {ITEMS}", trial.told
        assert await tables.value("SELECT array_agg(value ORDER BY value) FROM tally") == [-1, ITEMS], trial.told
        result = json.loads((await tables.job(trial.job_id))["result"])["steps"]
        assert [result[step]["written"] for step in ("load", "export")] == [ITEMS, ITEMS], trial.told
        statuses = "SELECT array_agg(DISTINCT status) FROM jobservice.step_execution"
        assert await tables.value(statuses) == ["SUCCEEDED"], trial.told
        assert {path.name for path in tmp_path.glob("*.csv*")} == {"source.csv", "out.csv"}, trial.told
