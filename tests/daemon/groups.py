"""`daemon --processes 2` under test: a supervisor and its two daemons."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import psutil
from daemons import Books, Process, Processes, lives, until

ENOUGH_DRAIN = 600.0


@dataclass
class Group:
    """What runs, as the books and the log tell it."""

    supervisor: Process
    books: Books

    @classmethod
    async def start(cls, processes: Processes, books: Books, **settings: object) -> "Group":
        """With little room, so that neither could take all jobs; returns when both work."""
        given = {"pool__capacity": 5, "pool__stop_grace": 2.0, "daemon__drain_timeout": ENOUGH_DRAIN} | settings
        group = cls(await processes.start("--processes", "2", wait=False, **given), books)
        await group.works()
        return group

    async def pids(self) -> list[int]:
        """Of the daemons that neither left nor were lost, in the order of their start."""
        rows = await self.books.connection.fetch(
            "SELECT pid FROM jobservice.daemon WHERE stopped_at IS NULL AND lost_at IS NULL ORDER BY started_at"
        )
        return [row["pid"] for row in rows]

    async def works(self) -> list[int]:
        """Waits until two daemons work; their process ids."""

        async def two() -> list[int]:
            assert self.supervisor.process.returncode is None, self.supervisor.log.read_text()[-3000:]
            started = {line["pid"] for line in self.supervisor.lines("daemon.start")}
            living = [pid for pid in await self.pids() if lives(pid) and pid in started]
            return living if len(living) == 2 else []

        return await until(two, lambda: f"two daemons work; they said {self.supervisor.log.read_text()[-3000:]}")

    async def fill(self, jobs: int = 10) -> list[Any]:
        """Submits jobs that wait for `go`, and waits until all slots have one."""
        parameters = {"file": str(self.supervisor.log.with_name("go"))}
        ids = await self.books.submit_many([{"job_class": "Waits", "parameters": parameters} for _ in range(jobs)])
        running = "SELECT count(*) = 10 FROM jobservice.job_info WHERE status = 'RUNNING'"
        await until(lambda: self.books.value(running), "all slots are taken")
        return ids

    def go(self) -> None:
        self.supervisor.log.with_name("go").touch()

    async def says(self, event: str, count: int = 1) -> None:
        """Waits until so many have logged it."""

        async def said() -> bool:
            return len({line.get("daemon_id") for line in self.supervisor.lines(event)}) == count

        await until(said, lambda: f"{count} x {event}; they said {self.supervisor.log.read_text()[-3000:]}")

    async def told(self, claim: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits until `/readyz` answers so: on a busy machine a worker may be silent for a while."""
        (line,) = self.supervisor.lines("supervisor.start")

        async def so() -> dict[str, Any] | None:
            async with aiohttp.ClientSession() as session, session.get(f"{line['http_url']}/readyz") as answer:
                said: dict[str, Any] = await answer.json()
            assert (answer.status == 200) is said["ok"]
            return said if claim(said) else None

        return await until(so, "an answer")

    async def gone(self, *pids: int) -> None:
        async def none() -> bool:
            return not any(map(lives, pids))

        await until(none, f"the end of {pids}")

    async def end(self) -> None:
        """Kills what is left."""
        if self.supervisor.process.returncode is None:
            self.supervisor.send(signal.SIGKILL)
        for pid in await self.pids():
            if lives(pid):
                psutil.Process(pid).kill()
