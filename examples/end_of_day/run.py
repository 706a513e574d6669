"""Runs one end of day on private servers: python examples/end_of_day/run.py [--trades N] [--directory DIR]"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from make_input import make

from jobservice import JobInfo, JobInfoService

HERE = Path(__file__).parent
DAY = "2026-11-20"


def main() -> None:
    """Input, servers, job, and what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trades", type=int, default=0, help="generate so many; 0 takes the 500 of data/")
    parser.add_argument("--terms", type=int, default=12, help="repayments of a loan")
    parser.add_argument("--directory", type=Path, help="where all files are left; else they are removed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        directory = (given.directory or Path(passing)).absolute()
        take_input(directory, given.trades)
        parameters = {"day": DAY, "directory": str(directory), "terms": given.terms}
        with (directory / "daemon.log").open("w") as log, servers(passing, log) as database_url:
            asyncio.run(end_of_day(database_url, parameters | {"archive": f"file://{directory}/archive"}))


def take_input(directory: Path, trades: int) -> None:
    """The files of data/, or generated ones."""
    directory.mkdir(parents=True, exist_ok=True)
    if trades:
        make(directory, trades)
    else:
        for file in (HERE / "data").iterdir():
            (directory / file.name).write_bytes(file.read_bytes())


@contextmanager
def servers(state: str, log: IO[str]) -> Iterator[str]:
    """`jobservice up`: private servers, and a daemon that knows the job. The database's URL."""
    command = [sys.executable, "-m", "jobservice", "up", "--json", "--config", str(HERE / "jobservice.toml")]
    with subprocess.Popen(command, env=environment(state), stdout=subprocess.PIPE, stderr=log, text=True) as up:
        try:
            yield json.loads(up.stdout.readline())["database_url"]
        finally:
            up.terminate()


def environment(state: str) -> dict[str, str]:
    """The daemon finds the job's package, and shares nothing with another installation."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
    path = os.pathsep.join([str(HERE), *filter(None, [clean.get("PYTHONPATH")])])
    return clean | {"PYTHONPATH": path, "XDG_STATE_HOME": state}


async def end_of_day(database_url: str, parameters: dict[str, object]) -> None:
    """Submits the job, waits for it and tells what came of it."""
    async with JobInfoService.connect(database_url) as jobs:
        job = await jobs.create_as_queued(JobInfo("EndOfDay", parameters=parameters))
        ended = await jobs.wait(job.id, timeout=3600)
    if ended.result is None:
        sys.exit(f"{ended.status}: {ended.error_message}")
    delivered = Path(parameters["directory"]) / "archive" / "plans-20261120.csv"
    with delivered.open() as lines:
        print(f"{ended.status}: {sum(1 for _ in lines) - 1} plans in {delivered}")


if __name__ == "__main__":
    main()
