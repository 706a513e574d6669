"""Runs one end of day on private servers, and tells how it gets on: python examples/end_of_day/run.py

--trades N generates so many, --directory DIR keeps all files there, --kills N kills the daemon with -9 at so many
random moments and starts another one each time.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import asyncpg
from make_input import make

from jobservice import JobInfo, JobInfoService

HERE = Path(__file__).parent
DAY = "2026-11-20"
TELL_EVERY = 5.0


def main() -> None:
    """Input, servers, daemon, job, and what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trades", type=int, default=0, help="generate so many; 0 takes the 500 of data/")
    parser.add_argument("--terms", type=int, default=12, help="repayments of a loan")
    parser.add_argument("--directory", type=Path, help="where all files are left; else they are removed")
    parser.add_argument("--kills", type=int, default=0, help="how often the daemon is killed")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        directory = (given.directory or Path(passing)).absolute()
        trades = take_input(directory, given.trades)
        parameters = {"day": DAY, "directory": str(directory), "terms": given.terms}
        items = trades * (2 + given.terms)  # read as trades, read to be posted, and their plans read for the export
        kills = sorted(random.Random(given.seed).sample(range(1, items), given.kills), reverse=True)
        with (directory / "daemon.log").open("w") as log, servers(passing, log) as urls:
            parameters["archive"] = f"file://{directory}/archive"
            with Daemon(urls, log) as daemon:
                status = asyncio.run(end_of_day(urls["database_url"], parameters, daemon, kills))
            tell(asyncio.run(written(urls["database_url"])))
            print(f"{status}: {delivered_to(directory)}")


def take_input(directory: Path, trades: int) -> int:
    """The files of data/, or generated ones; how many trades there are."""
    directory.mkdir(parents=True, exist_ok=True)
    if trades:
        tell(f"generating {trades:,} trades")
        make(directory, trades)
        return trades
    for file in (HERE / "data").iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    return 500


@contextmanager
def servers(state: str, log: IO[str]) -> Iterator[dict[str, str]]:
    """`jobservice up`: private servers; their addresses."""
    command = [sys.executable, "-m", "jobservice", "up", "--no-daemon", "--json"]
    environment = foreign() | {"XDG_STATE_HOME": state}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as up:
        try:
            yield json.loads(up.stdout.readline())
        finally:
            up.terminate()


def foreign() -> dict[str, str]:
    """The environment without what is meant for another installation."""
    return {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}


class Daemon:
    """A daemon that knows the job."""

    def __init__(self, urls: dict[str, str], log: IO[str]) -> None:
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        addresses = {f"JOBSERVICE_{name.upper()}": urls[name] for name in ("database_url", "amqp_url")}
        self._environment = foreign() | addresses | {"PYTHONPATH": path}
        self._log = log

    def __enter__(self) -> "Daemon":
        command = [sys.executable, "-m", "jobservice", "daemon", "--config", str(HERE / "jobservice.toml")]
        self._process = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()

    def die_and_come_again(self) -> None:
        """kill -9, and another one in its place."""
        self._process.kill()
        self._process.wait()
        self.__enter__()


async def end_of_day(database_url: str, parameters: dict[str, object], daemon: Daemon, kills: list[int]) -> str:
    """Submits the job and watches it until it has ended; its status."""
    began = time.monotonic()
    async with JobInfoService.connect(database_url) as jobs:
        job = await jobs.create_as_queued(JobInfo("EndOfDay", parameters=parameters))
        watching = asyncio.create_task(watch(jobs, job.id, daemon, kills))
        ended = await jobs.wait(job.id, timeout=6 * 3600)
        watching.cancel()
    if ended.result is None:
        sys.exit(f"{ended.status}: {ended.error_message}")
    tell(f"it took {time.monotonic() - began:.0f} s")
    return str(ended.status)


def delivered_to(directory: Path) -> str:
    """What stands in the archive."""
    delivered = directory / "archive" / "plans-20261120.csv"
    with delivered.open() as lines:
        return f"{sum(1 for _ in lines) - 1} plans in {delivered}"


async def watch(jobs: JobInfoService, job_id: object, daemon: Daemon, kills: list[int]) -> None:
    """A line from time to time; where so many items are committed as the last one of `kills` says, the daemon dies."""
    told, before = time.monotonic(), 0
    while True:
        await asyncio.sleep(0.1)
        instance = await jobs.instances.of(job_id)
        steps = () if instance is None else instance.steps
        done = sum(step.read for step in steps)
        if kills and done >= kills[-1]:
            tell(f"{done:,} items are committed: kill -9")
            kills.pop()
            await asyncio.to_thread(daemon.die_and_come_again)
        if steps and (passed := time.monotonic() - told) >= TELL_EVERY:
            names = sorted({step.step for step in steps if step.status == "STARTED"})
            tell(f"{done:,} items are committed, {(done - before) / passed:,.0f} a second; at work: {', '.join(names)}")
            told, before = time.monotonic(), done


async def written(database_url: str) -> str:
    """How many rows were written a second time, since what a killed daemon had not committed was rolled back.

    The server counts what a session has inserted once that has ended: the daemon has, its sessions may take a moment.
    """
    connection = await asyncpg.connect(database_url)
    others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    try:
        while await connection.fetchval(others):  # noqa: ASYNC110 - the server tells nobody when a session has ended
            await asyncio.sleep(0.1)
        kept = await connection.fetchval("SELECT (SELECT count(*) FROM eod_trade) + (SELECT count(*) FROM eod_plan)")
        inserted = await connection.fetchval(
            "SELECT sum(n_tup_ins)::bigint FROM pg_stat_user_tables WHERE relname IN ('eod_trade', 'eod_plan')"
        )
    finally:
        await connection.close()
    return f"{kept:,} rows are in the tables, {inserted - kept:,} were written in vain"


def tell(line: str) -> None:
    """To stderr: stdout has the result alone."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
