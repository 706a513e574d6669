"""What becomes of a job whose class this daemon does not know: another daemon's, or FAILED."""

from collections.abc import Callable
from uuid import UUID

from jobservice.domain.outcomes import Failed, HandedBack, Outcome
from jobservice.pool.run import Run
from jobservice.store.daemons import Daemons
from jobservice.store.session import Session


class UnknownClassPolicy:
    """During a rolling deployment some daemons of a queue know a class and some do not yet."""

    def __init__(
        self, *, session: Session, daemons: Daemons, daemon_id: UUID, leave_alone: Callable[[str], None]
    ) -> None:
        self._session = session
        self._daemons = daemons
        self._daemon_id = daemon_id
        self._leave_alone = leave_alone

    async def __call__(self, run: Run) -> Outcome:
        """HandedBack when another living daemon of the queue knows the class, else Failed."""
        card = run.claimed.card
        async with self._session.use() as connection:
            elsewhere = await self._daemons.class_known_elsewhere(
                connection, self._daemon_id, card.queue, card.job_class
            )
        if elsewhere:
            self._leave_alone(card.job_class)
            return HandedBack(f"this daemon does not know job class {card.job_class}")
        return Failed(
            "UnknownJobClass",
            f"no daemon of queue {card.queue} knows job class {card.job_class}; name its package in jobs.packages",
        )
