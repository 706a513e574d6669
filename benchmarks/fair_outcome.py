"""What a run of the fairness model came to: who was given how much of what was due, and how long jobs waited."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """Slot-seconds that tenants with a backlog were given, and their due; waits from submission to start.

    `received` is from claim to the written end, as rows tell; `held` only until the slot came free.
    """

    received: dict[str, float]
    held: dict[str, float]
    due: dict[str, float]
    waits: dict[str, list[float]]
    dry: dict[str, float] = field(default_factory=dict)  # the longest time that one with a backlog had no slot
    runs: int = 0

    def jain(self, *, held: bool = False) -> float:
        """Jain's index of what was received over what was due: 1 is exact, 1/n one tenant has all."""
        parts = self._parts(self.held if held else self.received)
        return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))

    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest part of what was due."""
        parts = self._parts(self.received)
        return min(parts), max(parts)

    def _parts(self, received: dict[str, float]) -> list[float]:
        return [received[name] / due for name, due in self.due.items() if due > 0]
