"""Writes how far the runs of a daemon have come: one grouped statement per tick, only for those that moved.

A second one, where some of them are parts of steps, writes how far the jobs are that wait for these.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

from jobservice.sdk.progress import Progress, ProgressSnapshot
from jobservice.store.session import Session
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("flush.sql")


class Advancing(Protocol):
    """A run that may have moved."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def run(self) -> int: ...
    @property
    def started_at(self) -> float | None: ...
    @property
    def progress(self) -> Progress: ...
    def estimated_completion_seconds(self) -> float | None: ...


class ProgressWriter:
    """`run_once` belongs to a Loop whose interval is `jobs.completion_update_interval`."""

    def __init__(
        self, *, session: Session, daemon_id: UUID, schema: str, runs: Callable[[], Iterable[Advancing]]
    ) -> None:
        self._session = session
        self._daemon_id = daemon_id
        self._sql = load(_FILE, schema)
        self._runs = runs

    async def run_once(self) -> float | None:
        """What was not written comes with the next. Raises UnavailableError."""
        runs = [run for run in self._runs() if run.started_at]
        await self._advance([(run, snapshot) for run in runs if (snapshot := run.progress.take())])
        # Whether or not they have moved: others of theirs may have, and were told of less than a second ago.
        await self._tell_parents({run.progress.pipeline_of_parts for run in runs} - {None})
        return None

    async def _advance(self, moved: Sequence[tuple[Advancing, ProgressSnapshot]]) -> None:
        if not moved:
            return
        written: set[UUID] = set()
        try:
            written = await self._write(moved)
        finally:
            for run, _ in moved:
                if run.job_id not in written:
                    run.progress.put_back()

    async def _tell_parents(self, pipelines: Collection[UUID | None]) -> None:
        if pipelines:
            async with self._session.use() as connection:
                async for _ in self._sql.tell_parents(connection, pipelines=list(pipelines)):
                    pass

    async def _write(self, moved: Sequence[tuple[Advancing, ProgressSnapshot]]) -> set[UUID]:
        async with self._session.use() as connection:
            infos = [_unwritten(run) for run, _ in moved]
            rows = self._sql.advance(
                connection,
                daemon=self._daemon_id,
                ids=[run.job_id for run, _ in moved],
                runs=[run.run for run, _ in moved],
                percents=[snapshot.percent for _, snapshot in moved],
                done=[snapshot.done for _, snapshot in moved],
                totals=[snapshot.total or None for _, snapshot in moved],
                messages=[snapshot.message for _, snapshot in moved],
                remaining=[run.estimated_completion_seconds() for run, _ in moved],
                infos=[None if info is None else info[1] for info in infos],
            )
            written = {row["id"] async for row in rows}
        for (run, _), info in zip(moved, infos, strict=True):
            if info is not None and run.progress.info is not None and run.job_id in written:
                run.progress.info.written(info[0])
        return written


def _unwritten(run: Advancing) -> tuple[int, str] | None:
    info = run.progress.info
    return None if info is None else info.unwritten(run.started_at)
