"""Which pipelines are submitted, and what is done to them, drawn from a seed. Pure: no clock, no server."""

import random
from dataclasses import dataclass
from typing import Any

from chaos.plan import TENANTS

STAGES = 2
JOBS_MOST = 10
PRIORITIES = 5
VERBS_WITHIN = 12.0
"""Seconds from the submission to the last thing that is done to a pipeline at random."""


@dataclass(frozen=True, slots=True)
class PlannedVerb:
    """Something to do to a pipeline `after` so many seconds, through SQL or by a message."""

    after: float
    verb: str
    by_message: bool
    argument: Any = None


@dataclass(frozen=True, slots=True)
class PlannedPipeline:
    """A pipeline to be submitted `at` so many seconds after the begin, through SQL or by a message."""

    at: float
    key: str
    tree: dict[str, Any]
    by_message: bool
    twice: bool
    verbs: tuple[PlannedVerb, ...]


def draw_pipelines(seed: int, *, seconds: float, count: int) -> list[PlannedPipeline]:
    """In the order of their times."""
    rng = random.Random(f"pipelines {seed}")
    return [_pipeline(rng, n, seconds * n / max(1, count)) for n in range(count)]


def _pipeline(rng: random.Random, n: int, at: float) -> PlannedPipeline:
    verbs = tuple(sorted(_verbs(rng), key=lambda verb: verb.after))
    tree = {
        "name": "chaos",
        "tenant": rng.choice(TENANTS),
        "priority": rng.randrange(PRIORITIES),
        "status": rng.choices(["QUEUED", "PENDING"], [9, 1])[0],
        "idempotency_key": f"pipeline-{n}",
        "stages": [_stage(rng) for _ in range(STAGES)],
    }
    by_message = not verbs and rng.random() < 0.5  # the id of what is commanded must be known
    return PlannedPipeline(at, f"pipeline-{n}", tree, by_message, twice=rng.random() < 0.05, verbs=verbs)


def _stage(rng: random.Random) -> dict[str, Any]:
    on_failure = rng.choice(["finish_stage", "abort_stage", "continue"])
    return {
        "hold": rng.random() < 0.1,
        "on_failure": on_failure,
        **({"allowed_failures": rng.choice([0.2, 0.5, 1.0])} if on_failure == "continue" else {}),
        "jobs": [_job(rng) for _ in range(rng.randint(1, JOBS_MOST))],
    }


def _job(rng: random.Random) -> dict[str, Any]:
    walk = {"steps": rng.randint(1, 6), "pause": round(rng.uniform(0.01, 0.2), 3)}
    stumble = {"failures": rng.randint(0, 3)}
    works: list[tuple[float, dict[str, Any]]] = [
        (60, {"job_class": "Write"}),
        (20, {"job_class": "Walk", "parameters": walk}),
        (8, {"job_class": "WalkOnThread", "parameters": walk}),
        (2, {"job_class": "WalkInProcess", "parameters": walk}),
        (8, {"job_class": "Stumble", "parameters": stumble, "max_attempts": rng.randint(2, 4)}),
        (2, {"job_class": "Fail", "max_attempts": 1}),
    ]
    return rng.choices([work for _, work in works], [weight for weight, _ in works])[0]


def _verbs(rng: random.Random) -> list[PlannedVerb]:
    verbs = [
        PlannedVerb(
            rng.choice((rng.uniform(0.0, 1.0), rng.uniform(0.0, VERBS_WITHIN))), verb, rng.random() < 0.4, argument
        )
        for verb, share, argument in (
            ("pause", 0.4, None),
            ("stop", 0.25, None),
            ("restart", 0.35, None),
            ("restart", 0.2, None),
            ("set_priority", 0.2, rng.randrange(PRIORITIES)),
        )
        if rng.random() < share
    ]
    pauses = [verb.after for verb in verbs if verb.verb == "pause" and rng.random() < 0.7]
    return verbs + [PlannedVerb(after + rng.uniform(0.0, 6.0), "resume", rng.random() < 0.4) for after in pauses]
