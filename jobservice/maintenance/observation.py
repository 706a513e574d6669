"""Looks now and then at what a health probe wants to know and must not ask the servers itself."""

from collections.abc import Awaitable, Callable, Sequence

from jobservice.store.backlog import Backlog, Waiting
from jobservice.store.session import Session

INTERVAL = 10.0


class Observation:
    """`run_once` belongs to a Loop; the last look stays readable."""

    def __init__(
        self,
        *,
        session: Session,
        backlog: Backlog,
        queues: Sequence[str],
        count_rejected: Callable[[], Awaitable[int | None]],
    ) -> None:
        self._session = session
        self._backlog = backlog
        self._queues = queues
        self._count_rejected = count_rejected
        self.waiting = Waiting()
        self.rejected: int | None = None
        """Messages in the rejected queue; None while the broker is away."""

    async def run_once(self) -> float | None:
        """One look. Raises UnavailableError."""
        self.rejected = await self._count_rejected()
        async with self._session.use() as connection:
            self.waiting = await self._backlog.of(connection, self._queues)
        return None
