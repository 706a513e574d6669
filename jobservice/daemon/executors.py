"""The executors of one daemon, by the names that job classes give them, with what they hold that must be closed."""

from uuid import UUID

from jobservice.config import Settings
from jobservice.pool.executors import AsyncioExecutor, Executor, ThreadExecutor
from jobservice.pool.process_executor import ProcessExecutor
from jobservice.pool.steps_executor import StepsExecutor
from jobservice.steps.connections import StepConnections
from jobservice.steps.runner import StepRunner
from jobservice.steps.threads import StepThreads


class Executors:
    """Built by the daemon, which closes them when no run is left, or none that could be waited for."""

    def __init__(self, *, settings: Settings, daemon_id: UUID) -> None:
        schema, url = settings.database.schema_name, settings.database_url or ""
        self.processes = ProcessExecutor(settings.pool.processes)
        self._threads = ThreadExecutor(settings.pool.threads)
        self._connections = StepConnections(url=url, daemon_id=daemon_id, size=settings.pool.step_connections)
        self._step_threads = StepThreads()
        steps = StepRunner(
            connections=self._connections, threads=self._step_threads, schema=schema, daemon_id=daemon_id
        )
        self.by_name: dict[str, Executor] = {
            "asyncio": AsyncioExecutor(),
            "thread": self._threads,
            "process": self.processes,
            "steps": StepsExecutor(steps, self._step_threads),
        }

    async def close(self) -> None:
        """Takes no more jobs. A thread at work is left behind; a process is ended."""
        self._threads.close()
        self._step_threads.close()
        await self.processes.close()
        await self._connections.close()
