"""Processor time and memory of processes, from outside them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import psutil

_SAMPLE = 0.05


def with_children(pids: Iterable[int]) -> list[int]:
    """These and all below them."""
    return [each for pid in pids for each in (pid, *(c.pid for c in psutil.Process(pid).children(recursive=True)))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time so far. One that has ended counts nothing."""
    return sum(_cpu(pid) for pid in pids)


def resident(pids: Iterable[int]) -> float:
    """Megabytes of the largest of them."""
    return float(max(psutil.Process(pid).memory_info().rss for pid in pids)) / 1e6


@contextlib.asynccontextmanager
async def peak_resident(pids: Sequence[int]) -> AsyncIterator[list[float]]:
    """One number, at the end of the block: megabytes of the largest of them at its largest, looked at every 50 ms."""
    peak = [resident(pids)]

    async def look() -> None:
        while True:
            await asyncio.sleep(_SAMPLE)
            peak[0] = max(peak[0], resident(pids))

    looking = asyncio.create_task(look())
    try:
        yield peak
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


def _cpu(pid: int) -> float:
    # The scheduler's own count is in nanoseconds; the other one in ticks of 10 ms, too coarse for an idle process.
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, ValueError, IndexError):
        pass
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
