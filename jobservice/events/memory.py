"""What a daemon has committed and not yet published, bounded; the outbox holds the same and is not bounded."""

from collections import deque

from jobservice.domain.facts import Committed

FACTS_IN_MEMORY = 20_000
RESULTS_IN_MEMORY = 16 * 1024 * 1024
"""Characters of their results."""


class Memory:
    """In the order of the commits."""

    def __init__(self) -> None:
        self._waiting: deque[Committed] = deque()
        self._unconfirmed: set[int] = set()
        self.facts = 0
        """How many wait."""
        self._results = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def keep(self, committed: Committed) -> bool:
        """False where there is no room for it, nor is it kept then. One alone finds room, however long its results."""
        results = _result_size(committed)
        if self.facts + len(committed.facts) > FACTS_IN_MEMORY or (
            self._waiting and self._results + results > RESULTS_IN_MEMORY
        ):
            return False
        self._waiting.append(committed)
        self._unconfirmed.add(committed.outbox_id)
        self.facts += len(committed.facts)
        self._results += results
        return True

    def take(self, at_most: int) -> list[Committed]:
        """From the front, up to so many facts, and one transaction at least. They are held until they are confirmed."""
        batch: list[Committed] = []
        facts = 0
        while self._waiting and (not batch or facts + len(self._waiting[0].facts) <= at_most):
            committed = self._waiting.popleft()
            facts += len(committed.facts)
            batch.append(committed)
            self._results -= _result_size(committed)
        self.facts -= facts
        return batch

    def confirm(self, outbox_id: int) -> None:
        """The broker has the events of this row."""
        self._unconfirmed.discard(outbox_id)

    def holds(self, outbox_id: int) -> bool:
        """Whether this row was kept and is not confirmed."""
        return outbox_id in self._unconfirmed

    def clear(self) -> None:
        """Forget everything: the outbox has it."""
        self._waiting.clear()
        self._unconfirmed.clear()
        self.facts = 0
        self._results = 0


def _result_size(committed: Committed) -> int:
    return sum(map(len, committed.results.values()))
