"""What is to happen, drawn from a seed before anything begins: the same seed gives the same faults and the same jobs.

Pure: no clock, no server. How long a restart really takes, and what a fault meets, differs from run to run.
"""

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

TENANTS = ("acme", "bolt", "cane", "dune", "echo")
LIMITED = {"echo": 5}
"""Tenants that have a limit, and which; concurrency keys have one each."""
TICK = 0.25
"""Seconds between two groups of submissions."""


class Kind(StrEnum):
    """What can be done to an installation."""

    KILL = "daemon killed"
    FREEZE = "daemon stopped for longer than its lease, then continued"
    ROLL = "daemon terminated in good order"
    HURRY = "daemon terminated twice"
    DATABASE_RESTART = "database restarted as by a crash"
    DATABASE_AWAY = "database away for longer than the lease"
    DATABASE_TERMINATE = "all database sessions terminated"
    DATABASE_CUT = "line to the database cut"
    DATABASE_SILENT = "line to the database silent"
    DATABASE_SLOW = "line to the database slow"
    DATABASE_ANSWERS = "answers of the database lost"
    BROKER_KILL = "broker killed and restarted"
    BROKER_CLOSE = "connections closed by the broker"
    BROKER_BLOCK = "publishing blocked by the broker"
    BROKER_CUT = "line to the broker cut"
    BROKER_SILENT = "line to the broker silent"
    BROKER_SLOW = "line to the broker slow"


_LEASES: dict[Kind, tuple[float, float]] = {
    Kind.FREEZE: (1.3, 3.0),
    Kind.DATABASE_AWAY: (1.2, 2.0),
    Kind.DATABASE_CUT: (0.1, 3.0),
    Kind.DATABASE_SILENT: (0.1, 3.0),
    Kind.DATABASE_SLOW: (1.0, 2.0),
    Kind.DATABASE_ANSWERS: (0.02, 0.5),
    Kind.BROKER_KILL: (0.0, 1.0),
    Kind.BROKER_BLOCK: (0.3, 2.0),
    Kind.BROKER_CUT: (0.1, 2.0),
    Kind.BROKER_SILENT: (0.1, 2.5),
    Kind.BROKER_SLOW: (1.0, 2.0),
}
"""How long a fault lasts, in leases, at least and at most; the others are over at once."""

DECK = (*Kind, Kind.KILL, Kind.FREEZE, Kind.FREEZE, Kind.DATABASE_SILENT)
"""What comes before anything comes again: those from which stale runs come back are there more than once."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to do, `at` seconds after the begin, to daemon `place` where it is about one daemon."""

    at: float
    kind: Kind
    place: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Submission:
    """One job to be submitted, by which way; `stop_after` seconds it is stopped, through SQL or by a message."""

    key: str
    job: dict[str, Any]
    by_message: bool
    twice: bool
    stop_after: float | None = None
    stop_by_message: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Faults in their order, and the groups of submissions, one each TICK."""

    faults: list[Fault]
    groups: list[list[Submission]] = field(repr=False)

    @property
    def jobs(self) -> int:
        """How many are submitted."""
        return sum(map(len, self.groups))


def draw(seed: int, *, seconds: float, jobs: int, daemons: int, lease: float, pause: float) -> Plan:
    """The plan of a run of so many seconds, with a fault each `pause` seconds on the average."""
    return Plan(
        faults=_faults(random.Random(f"faults {seed}"), seconds, daemons, lease, pause),
        groups=_groups(random.Random(f"jobs {seed}"), seconds, jobs),
    )


def _faults(rng: random.Random, seconds: float, daemons: int, lease: float, pause: float) -> list[Fault]:
    faults: list[Fault] = []
    deck: list[Kind] = []
    at = pause
    while at < seconds:
        if not deck:
            deck = rng.sample(DECK, len(DECK))
        kind = deck.pop()
        low, high = _LEASES.get(kind, (0.0, 0.0))
        faults.append(Fault(at, kind, rng.randrange(daemons), rng.uniform(low, high) * lease))
        at += rng.uniform(0.3, 1.7) * pause
    return faults


def _groups(rng: random.Random, seconds: float, jobs: int) -> list[list[Submission]]:
    ticks = max(1, int(seconds / TICK))
    return [
        [_submission(rng, f"chaos-{n}") for n in range(jobs * tick // ticks, jobs * (tick + 1) // ticks)]
        for tick in range(ticks)
    ]


def _submission(rng: random.Random, key: str) -> Submission:
    job: dict[str, Any] = {"tenant": rng.choice(TENANTS), "priority": rng.randrange(5), **_work(rng)}
    if rng.random() < 0.04:
        job["concurrency_key"] = f"key-{rng.randrange(3)}"
    lingers = job["job_class"].startswith("Linger")
    stops = lingers or rng.random() < 0.04
    by_message = rng.random() < 0.5 and not stops  # the id of what is to be stopped must be known
    return Submission(
        key=key,
        job=job,
        by_message=by_message,
        twice=rng.random() < 0.03,
        stop_after=rng.choice((0.0, rng.uniform(0.0, 0.3), rng.uniform(0.3, 6.0))) if stops else None,
        stop_by_message=rng.random() < 0.4,
    )


def _work(rng: random.Random) -> dict[str, Any]:
    walk = {"steps": rng.randint(1, 8), "pause": round(rng.uniform(0.01, 0.2), 3)}
    stride = {"steps": rng.randint(4, 16), "pause": round(rng.uniform(0.2, 0.6), 3)}
    stumble: dict[str, Any] = {"failures": rng.randint(0, 4)}
    if rng.random() < 0.3:
        stumble["after"] = rng.choice((0, 0.1, 0.7))
    works: list[tuple[float, dict[str, Any]]] = [
        (60, {"job_class": "Write"}),
        (8, {"job_class": "Walk", "parameters": walk}),
        (2, {"job_class": "Walk", "parameters": stride}),
        (4, {"job_class": "Sleep", "parameters": {"seconds": round(rng.uniform(1.0, 6.0), 1)}}),
        (0.5, {"job_class": "Walk", "parameters": {"steps": 50, "pause": 0.2}, "timeout": 1.0}),
        (8, {"job_class": "WalkOnThread", "parameters": walk}),
        (1, {"job_class": "WalkOnThread", "parameters": stride}),
        (3, {"job_class": "WalkInProcess", "parameters": walk}),
        (4, {"job_class": "Fail"}),
        (8, {"job_class": "Stumble", "parameters": stumble, "max_attempts": rng.randint(1, 4)}),
        (3, {"job_class": "Follow"}),
        (0.6, {"job_class": "Linger"}),
        (0.4, {"job_class": "LingerOnThread"}),
        (0.2, {"job_class": "LingerInProcess"}),
    ]
    return rng.choices([work for _, work in works], [weight for weight, _ in works])[0]
