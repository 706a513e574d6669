"""What the chaos run would notice of pipelines: each promise, broken once, is told as broken. How its plan is drawn."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from chaos.pipeline_checks import PipelineEvidence, check_pipelines
from chaos.pipeline_load import PipelinesTold
from chaos.pipeline_plan import draw_pipelines
from chaos.pipeline_recorder import PipelineRecorder
from chaos.recorder import Seen

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PIPELINE = "01a20000-0000-7000-8000-00000000000a"
FIRST, SECOND = "01a20000-0000-7000-8000-000000000001", "01a20000-0000-7000-8000-000000000002"
LIFE = [
    (FIRST, "QUEUED"), (FIRST, "RUNNING"), (PIPELINE, "RUNNING"), (FIRST, "SUCCEEDED"),
    (SECOND, "QUEUED"), (SECOND, "RUNNING"), (SECOND, "SUCCEEDED"), (PIPELINE, "SUCCEEDED"),
]  # fmt: skip
"""In the order of publication, a second apart."""

EXISTS = "every pipeline that was accepted is there, once, and has ended"
COUNTERS = "the counters of stages are their rows"
ORDER = "stages follow each other"
PAUSES = "no job of a paused pipeline is claimed"
OUTCOMES = "pipelines end as their stages did"
EVENTS = "every change of a pipeline or stage was published, in order"


class Story:
    """A pipeline of two stages of a job, changed by a test before it is told."""

    def __init__(self) -> None:
        self.arrivals = list(range(len(LIFE)))
        self.told = PipelinesTold(keys={"key"})
        self.pipeline: dict[str, Any] = {
            "id": PIPELINE, "idempotency_key": "key", "status": "SUCCEEDED", "sequence": 3,
            "ending": None, "unsettled": False,
        }  # fmt: skip
        self.first, self.second = (
            {
                "id": stage_id, "pipeline_id": PIPELINE, "position": position, "status": "SUCCEEDED", "sequence": 4,
                "stop_date": NOON + timedelta(seconds=stopped), "on_failure": "finish_stage", "allowed_failures": 0.0,
                "total": 1, "succeeded": 1, "failed": 0, "aborted": 0,
                "counted_total": 1, "counted_succeeded": 1, "counted_failed": 0, "counted_aborted": 0,
            }
            for position, stage_id, stopped in ((1, FIRST, 3), (2, SECOND, 6))
        )  # fmt: skip
        self.claimed, self.ended = 4.5, 2.5
        """Seconds until the claim of the second job, and the end of the first one."""

    def evidence(self) -> PipelineEvidence:
        recorder = PipelineRecorder(url="amqp://nowhere/", prefix="chaos")
        for arrival in self.arrivals:
            recorder.keep(self._event(arrival), NOON + timedelta(seconds=arrival))
        return PipelineEvidence(
            told=self.told,
            recorder=recorder,
            pipelines={PIPELINE: self.pipeline},
            stages={PIPELINE: [self.first, self.second]},
            jobs={FIRST: ["a"], SECOND: ["b"]},
            lives={"a": [seen("SUCCEEDED", self.ended)], "b": [seen("TO_BE_RUN", self.claimed)]},
        )

    def at(self, seconds: float) -> datetime:
        return NOON + timedelta(seconds=seconds)

    def swap(self, one: int, other: int) -> None:
        """Two arrivals."""
        self.arrivals[one], self.arrivals[other] = self.arrivals[other], self.arrivals[one]

    def _event(self, arrival: int) -> dict[str, Any]:
        subject, status = LIFE[arrival]
        before = [earlier for who, earlier in LIFE[:arrival] if who == subject]
        return {
            "pipeline_id": PIPELINE,
            "stage_id": None if subject == PIPELINE else subject,
            "sequence": 2 + len(before),
            "status": status,
            "previous_status": before[-1] if before else "PENDING",
        }


def seen(status: str, seconds: float) -> Seen:
    return Seen(
        sequence=2, status=status, previous="QUEUED", run=1, attempt=1, time=NOON + timedelta(seconds=seconds),
        daemon_id=None, will_retry=False, error_type=None, final=status == "SUCCEEDED",
    )  # fmt: skip


def broken(story: Story) -> list[str]:
    return [promise for promise, wrong in check_pipelines(story.evidence()).items() if wrong]


def test_a_healthy_story_breaks_no_promise() -> None:
    assert broken(Story()) == []


def test_repeated_events_are_no_fault() -> None:
    story = Story()

    story.arrivals = [*story.arrivals, *story.arrivals[3:]]

    assert broken(story) == []


@pytest.mark.parametrize("before", [True, False])
def test_a_claim_after_what_may_have_undone_a_pause_is_no_fault(before: bool) -> None:
    story = Story()
    pauses = story.told.pauses

    if before:  # by a message, say, which may come to pass later
        pauses.doubt(UUID(PIPELINE))
    pauses.begin(UUID(PIPELINE), story.at(4.0))
    if not before:
        pauses.end_all(story.at(4.4))

    assert pauses.count == (0 if before else 1)
    assert broken(story) == []


BREAKS: list[tuple[str, Callable[[Story], Any], list[str]]] = [
    ("one was accepted and is not there", lambda s: s.told.keys.add("other"), [EXISTS]),
    ("one is there that nobody submitted", lambda s: s.told.keys.clear(), [EXISTS]),
    ("it does not end", lambda s: s.pipeline.update(status="RUNNING"), [EXISTS, OUTCOMES, EVENTS]),
    ("it is left unsettled", lambda s: s.pipeline.update(unsettled=True), [EXISTS]),
    ("a counter is one too few", lambda s: s.first.update(succeeded=0), [COUNTERS]),
    ("a job is not counted", lambda s: s.first.update(counted_total=2, counted_failed=1), [COUNTERS]),
    ("a job is claimed too early", lambda s: setattr(s, "claimed", 2.9), [ORDER]),
    ("a job is claimed while it is paused", lambda s: s.told.pauses.begin(UUID(PIPELINE), s.at(4.0)), [PAUSES]),
    ("a stage ends too early", lambda s: setattr(s, "ended", 3.1), [ORDER]),
    (
        "a stage opens after a failure",
        lambda s: (s.first.update(status="FAILED"), s.pipeline.update(status="FAILED")),
        [ORDER, EVENTS],
    ),
    (
        "a stage succeeds with a failure",
        lambda s: s.second.update(failed=1, succeeded=0, counted_failed=1, counted_succeeded=0),
        [OUTCOMES],
    ),
    (
        "a stopped one is FAILED",
        lambda s: (s.told.stopped.add(UUID(PIPELINE)), s.pipeline.update(status="FAILED")),
        [OUTCOMES, EVENTS],
    ),
    ("an event is missing", lambda s: s.arrivals.remove(4), [EVENTS]),
    ("a stage is told RUNNING before QUEUED", lambda s: s.swap(0, 1), [EVENTS]),
    ("a stage is told open before the one before has ended", lambda s: s.swap(3, 4), [EVENTS]),
]  # fmt: skip


@pytest.mark.parametrize(("breaks", "promises"), [each[1:] for each in BREAKS], ids=[each[0] for each in BREAKS])
def test_a_broken_promise_is_told(breaks: Callable[[Story], Any], promises: list[str]) -> None:
    story = Story()

    breaks(story)

    assert broken(story) == promises


def test_a_seed_gives_the_same_pipelines_again_and_another_one_others() -> None:
    drawn = draw_pipelines(7, seconds=60, count=50)

    assert drawn == draw_pipelines(7, seconds=60, count=50)
    assert drawn != draw_pipelines(8, seconds=60, count=50)


def test_the_plan_has_five_priorities_up_to_ten_jobs_a_stage_and_all_verbs() -> None:
    drawn = draw_pipelines(7, seconds=60, count=300)

    assert {each.tree["priority"] for each in drawn} == set(range(5))
    assert {len(stage["jobs"]) for each in drawn for stage in each.tree["stages"]} == set(range(1, 11))
    assert {len(each.tree["stages"]) for each in drawn} == {2}
    verbs = {(verb.verb, verb.by_message) for each in drawn for verb in each.verbs}
    assert verbs == {
        (verb, way) for verb in ("pause", "resume", "stop", "restart", "set_priority") for way in (True, False)
    }
