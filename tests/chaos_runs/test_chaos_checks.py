"""What the chaos run would notice: each promise, broken once in an otherwise healthy story, is told as broken."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from chaos.checks import Evidence, check
from chaos.findings import Findings
from chaos.load import Told
from chaos.plan import Submission
from chaos.recorder import Recorder

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
JOB = "01a20000-0000-7000-8000-000000000001"
TWIN = "01a20000-0000-7000-8000-000000000002"
DAEMON = "da000000-0000-4000-8000-000000000001"
LIFE = ["QUEUED", "TO_BE_RUN", "RUNNING", "QUEUED", "TO_BE_RUN", "RUNNING", "SUCCEEDED"]
"""A run that was lost, and one that succeeded."""


class Story:
    """One job's, changed by a test before it is told."""

    def __init__(self) -> None:
        self.arrivals = list(range(1, len(LIFE) + 1))
        self.statuses = list(LIFE)
        self.told = Told(keys={"key": Submission("key", {}, by_message=False, twice=False)})
        self.job: dict[str, Any] = {
            "id": JOB, "tenant": "acme", "job_class": "Write", "status": "SUCCEEDED", "run": 2, "attempt": 1,
            "max_attempts": None, "lost_runs": 1, "sequence": 7, "stop_requested_at": None, "stop_date": NOON,
            "error_type": None, "error_message": None, "result": "2", "parameters": "{}", "correlation_id": None,
            "concurrency_key": None, "daemon_id": DAEMON, "pipeline_id": None, "stage_id": None,
        }  # fmt: skip
        self.effect: dict[str, Any] = {"job_id": JOB, "run": 2, "done": True}
        self.runs = [{"job_id": JOB, "run": 1, "ending": "lost", "daemon_id": DAEMON}]
        self.executed_twice: list[Any] = []
        self.daemons = {DAEMON: {"id": DAEMON, "lost_at": NOON, "stopped_at": None}}
        self.counts = {"outbox": 0, "outbox_rejected": 0}
        self.keys = {"key": JOB}
        self.ids = [JOB]
        self.attempts = 1
        self.first_sequence = 1

    def evidence(self) -> Evidence:
        recorder = Recorder(url="amqp://nowhere/", prefix="chaos")
        for job_id in self.ids:
            for sequence in self.arrivals:
                recorder.keep(self._event(job_id, sequence), NOON + timedelta(seconds=sequence))
        found = Findings(
            jobs={job_id: self.job | {"id": job_id} for job_id in self.ids},
            runs=dict.fromkeys(self.ids, self.runs),
            keys=self.keys,
            effects=dict.fromkeys(self.ids, self.effect),
            executed_twice=self.executed_twice,
            daemons=self.daemons,
            counts=self.counts,
        )
        return Evidence(self.told, recorder, found, first_sequence=self.first_sequence)

    def _event(self, job_id: str, sequence: int) -> dict[str, Any]:
        status = self.statuses[sequence - 1]
        return {
            "job_id": job_id,
            "sequence": sequence,
            "status": status,
            "previous_status": self.statuses[sequence - 2] if sequence > 1 else None,
            "run": self.statuses[:sequence].count("TO_BE_RUN"),
            "attempt": self.attempts if sequence > 1 else 0,
            "daemon_id": DAEMON,
            "will_retry": False,
            "error": None,
            "final": status in ("SUCCEEDED", "FAILED", "ABORTED"),
        }


def broken(story: Story) -> list[str]:
    return [promise for promise, wrong in check(story.evidence(), max_lost_runs=3).items() if wrong]


def test_a_healthy_story_breaks_no_promise() -> None:
    assert broken(Story()) == []


def test_events_that_come_again_break_no_promise() -> None:
    story = Story()
    story.arrivals = [1, 2, 3, 1, 2, 3, 4, 5, 6, 5, 7, 7]

    assert broken(story) == []


def test_where_submissions_are_not_published_events_begin_with_the_second_change() -> None:
    story = Story()
    story.first_sequence = 2
    story.arrivals.remove(1)

    assert broken(story) == []


def lose_a_job(story: Story) -> None:
    story.keys = {}


def make_two_of_one(story: Story) -> None:
    story.told.keys = {}


def never_end(story: Story) -> None:
    story.statuses, story.arrivals = LIFE[:6], story.arrivals[:6]
    story.job |= {"status": "RUNNING", "sequence": 6}


def end_twice(story: Story) -> None:
    story.statuses = [*LIFE, "FAILED"]
    story.arrivals.append(8)
    story.job["sequence"] = 8


def restart_unasked(story: Story) -> None:
    story.statuses = ["QUEUED", "ABORTED", "QUEUED", "TO_BE_RUN", "RUNNING", "TO_BE_RUN", "SUCCEEDED"]


def lose_an_event(story: Story) -> None:
    story.arrivals.remove(5)


def overtake(story: Story) -> None:
    story.arrivals[2:4] = [4, 3]


def jump(story: Story) -> None:
    story.statuses[3] = "PENDING"


def write_over_a_newer_run(story: Story) -> None:
    story.job["result"] = "1"


def end_without_effect(story: Story) -> None:
    story.effect["done"] = False


def execute_twice(story: Story) -> None:
    story.executed_twice = [{"job_id": JOB, "run": 2}]


def run_two_of_one_key(story: Story) -> None:
    story.ids = [JOB, TWIN]
    story.job["concurrency_key"] = "one at a time"


def claim_a_stopped_job(story: Story) -> None:
    story.job["stop_requested_at"] = NOON + timedelta(seconds=4.5)


def forget_a_stop(story: Story) -> None:
    story.job["job_class"] = "LingerOnThread"
    story.told.stopped[UUID(JOB)] = "message"


def attempt_too_often(story: Story) -> None:
    story.attempts = 2


def count_a_loss_too_many(story: Story) -> None:
    story.job["lost_runs"] = 2


def lose_a_run_of_a_living_daemon(story: Story) -> None:
    story.daemons[DAEMON]["lost_at"] = None


def succeed_without_followers(story: Story) -> None:
    story.job["job_class"] = "Follow"


def leave_the_outbox(story: Story) -> None:
    story.counts["outbox"] = 1


@pytest.mark.parametrize(
    ("breaks", "promise"),
    [
        (lose_a_job, "every job that was accepted is there, once"),
        (make_two_of_one, "every job that was accepted is there, once"),
        (never_end, "every job has exactly one end"),
        (end_twice, "every job has exactly one end"),
        (restart_unasked, "every job has exactly one end"),
        (lose_an_event, "every status change was published, in order"),
        (overtake, "every status change was published, in order"),
        (jump, "every status change was published, in order"),
        (write_over_a_newer_run, "no two runs overlapped in effect"),
        (end_without_effect, "no two runs overlapped in effect"),
        (execute_twice, "no two runs overlapped in effect"),
        (run_two_of_one_key, "no limit was exceeded"),
        (claim_a_stopped_job, "no stop was forgotten"),
        (forget_a_stop, "no stop was forgotten"),
        (attempt_too_often, "max_attempts was respected"),
        (count_a_loss_too_many, "rescues were counted rightly"),
        (lose_a_run_of_a_living_daemon, "rescues were counted rightly"),
        (succeed_without_followers, "what a success submits came with it"),
        (leave_the_outbox, "nothing waits to be published"),
    ],
)
def test_a_broken_promise_is_told(breaks: Callable[[Story], None], promise: str) -> None:
    story = Story()
    breaks(story)

    assert promise in broken(story)


def test_only_the_restart_of_its_pipeline_takes_an_ended_job_back_to_pending() -> None:
    story = Story()
    story.statuses = ["QUEUED", "ABORTED", "PENDING", "QUEUED", "TO_BE_RUN", "RUNNING", "SUCCEEDED"]
    story.job |= {"run": 1, "pipeline_id": "map"}
    published = "every status change was published, in order"

    evidence = story.evidence()
    restarted = replace(evidence, restarted_pipelines=frozenset({"map"}))

    assert check(evidence, max_lost_runs=3)[published] != []
    assert check(restarted, max_lost_runs=3)[published] == []
