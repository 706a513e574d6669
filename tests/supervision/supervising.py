"""The programs of these tests: a supervisor in a process of its own, and workers that do one thing each.

`python supervising.py supervise SETTINGS` and `python supervising.py WAY DIRECTORY LIFE CHANNEL`. A worker uses the
real other end of the line, and leaves a file with its process id for each of its steps.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobservice.supervision.superior import Superior


def supervise(settings: dict[str, Any]) -> None:
    """Ends with the status of the supervisor."""
    # Not for workers: their start is most of what these tests cost.
    from jobservice import logs
    from jobservice.supervision.supervisor import Supervisor

    logs.configure("info", "json")

    async def life() -> int:
        command = [sys.executable, __file__, settings.pop("way"), settings.pop("directory")]
        return await Supervisor(command=command, hello={}, http_host="127.0.0.1", http_port=0, **settings).run()

    sys.exit(asyncio.run(life()))


class Works:
    """Works until it is told to leave."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ready = True
        self.leaves = asyncio.Event()

    def mark(self, step: str) -> None:
        (self.directory / f"{step}-{os.getpid()}").touch()

    def drain(self, *, at_once: bool = False) -> None:
        self.mark("at_once" if at_once else "drain")
        self.leaves.set()

    def readiness(self) -> tuple[bool, Mapping[str, Any]]:
        return self.ready, {"daemon_id": str(os.getpid()), "running": 1, "capacity": 10}

    async def live(self, superior: Superior) -> None:
        superior.attend(self)
        superior.started()
        self.mark("started")
        await self.until_told()
        superior.left()

    async def until_told(self) -> None:
        await self.leaves.wait()


class LeavesOnlyAtOnce(Works):
    def drain(self, *, at_once: bool = False) -> None:
        self.mark("at_once" if at_once else "drain")
        if at_once:
            self.leaves.set()


class Deaf(Works):
    """Never leaves, and has a child."""

    async def until_told(self) -> None:
        child = subprocess.Popen(["sleep", "600"])
        (self.directory / f"child-{child.pid}").touch()
        await asyncio.Event().wait()


class Refuses(Works):
    async def live(self, superior: Superior) -> None:
        self.mark("refused")
        sys.exit(6)


class IsKilled(Works):
    async def until_told(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Vanishes(Works):
    """As a job may do that ends its process: nobody has ordered it."""

    async def until_told(self) -> None:
        os._exit(0)


class OneVanishes(Works):
    """The first to come, once another one is there, too."""

    async def until_told(self) -> None:
        try:
            (self.directory / "first").mkdir()
        except FileExistsError:
            await super().until_told()
        while len(list(self.directory.glob("started-*"))) < 2:
            await asyncio.sleep(0.01)
        os._exit(0)


class OneHasNotBegun(Works):
    """The second to come says that it is ready, and never that it works."""

    async def live(self, superior: Superior) -> None:
        try:
            (self.directory / "first").mkdir()
        except FileExistsError:
            superior.attend(self)
            self.mark("attends")
            await asyncio.Event().wait()
        await super().live(superior)


class Leaves(Works):
    """Told by somebody else."""

    async def until_told(self) -> None:
        return


class Blocks(Works):
    """Its event loop never turns again."""

    async def until_told(self) -> None:
        time.sleep(600)


class MakesOrphans(Works):
    async def until_told(self) -> None:
        subprocess.run(["sh", "-c", f"(echo $$ >/dev/null; sh -c 'touch {self.directory}/orphan-$$') &"], check=True)
        await super().until_told()


def work(way: str, directory: str, life: str, channel: str) -> None:
    """Ends as the way says."""

    async def live() -> None:
        await globals()[way](Path(directory)).live(await Superior.over(int(life), int(channel)))

    asyncio.run(live())


if __name__ == "__main__":
    if sys.argv[1] == "supervise":
        supervise(json.loads(sys.argv[2]))
    work(*sys.argv[1:])
