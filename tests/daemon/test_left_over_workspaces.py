"""A daemon cleans up after those that were killed on its machine."""

import os
import signal
from pathlib import Path

from daemons import Books, Daemons, Processes, until


async def test_a_killed_daemons_workspaces_go_with_the_start_of_the_next(
    books: Books, daemons: Daemons, processes: Processes
) -> None:
    killed = await processes.start()
    place = processes.directory / "workspaces"
    (mark,) = place.glob("*.lock")
    left = mark.with_suffix("") / "half a result"
    left.mkdir(parents=True)
    os.kill(killed.pid, signal.SIGKILL)
    await killed.ended()

    living = await daemons.start(workspace={"directory": place})

    async def gone() -> bool:
        return not left.exists() and not mark.exists()

    await until(gone, "the left-over workspace is gone")
    assert {path.name for path in Path(place).iterdir()} == {f"{living.id}.lock"}
    await living.leave()
    assert list(place.iterdir()) == []
