"""Any verbs in any order by anybody: each life stays legal, complete, ordered and within its limits, and can be ended.

The verbs are the real ones on a real database. After each, the rows are compared with what they were: only what the
pure table allows for this verb may have changed, and nothing by a run that is not the job's current one.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from factory import empty_tables, held_run
from histories import check_histories
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from impatience import replace_claim
from lives import KEYS, MAX_LOST_RUNS, QUEUES, TENANTS, Boot, HeldByDaemon, Rows, Stage

from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Retried, Succeeded
from jobservice.domain.states import FINAL, LIVE, JobStatus
from jobservice.domain.transitions import Verb, targets
from jobservice.lifecycle.limits import NO_LIMIT
from jobservice.lifecycle.submission import Submitter


@pytest.fixture(scope="module", params=[False, True], ids=["usual", "bounds move"])
def stage(module_database_url: str, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """With the claim as it is, and with one whose books are always as they are under an old snapshot."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        stage = Stage(runner, module_database_url)
        runner.run(replace_claim(stage.connection, impatient=request.param))
        yield stage
        stage.close()


picks = st.integers(0, 10**6)
OUTCOMES: list[Outcome] = [
    Succeeded(result="1"), Succeeded(next_jobs='[{"job_class": "Next", "tenant": "bolt"}]'), Failed("ValueError", "no"),
    Aborted("enough"), HandedBack("drain"), Retried(Failed("ValueError", "no"), 0.0),
    Retried(Failed("OSError", "no"), 60.0),
]  # fmt: skip


reports = st.lists(st.tuples(st.integers(0, 15), st.none() | st.sampled_from(OUTCOMES)), min_size=1, max_size=6)
NEED_A_START = (Succeeded, Retried)

submissions = st.builds(
    lambda tenant, queue, priority, key, idempotency, hold: {
        "job_class": "Nap", "tenant": tenant, "queue": queue, "priority": priority, "concurrency_key": key,
        "idempotency_key": idempotency, "status": "PENDING" if hold == "user" else "QUEUED",
        "trigger_after_date": "2100-01-01T00:00:00Z" if hold == "trigger" else None,
    },
    st.sampled_from(TENANTS), st.sampled_from(QUEUES), st.integers(-1, 1), st.none() | st.sampled_from(KEYS),
    st.sampled_from([None, None, None, "a", "b"]), st.sampled_from([None, None, None, None, "user", "trigger"]),
)  # fmt: skip


class JobLives(RuleBasedStateMachine):
    """What users, daemons and their upkeep may do, in any order."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        stage.run(empty_tables(stage.connection))
        stage.run(stage.connection.execute("INSERT INTO jobservice.setting VALUES ('events.submissions', 'true')"))
        self.daemons = [stage.boot(), stage.boot()]
        self.held: list[HeldByDaemon] = []
        self.reported: defaultdict[UUID, set[tuple[UUID, int]]] = defaultdict(set)
        self.rows: Rows = {}

    # ------------------------------------------------------------------------------------------------- submissions

    @initialize(jobs=st.lists(submissions, min_size=2, max_size=8))
    def begin(self, jobs: list[dict[str, Any]]) -> None:
        self.submit(jobs)

    @rule(jobs=st.lists(submissions, min_size=1, max_size=4))
    def submit(self, jobs: list[dict[str, Any]]) -> None:
        before = self.rows

        answers = self.stage.run(Submitter().submit(self.stage.connection, json.dumps(jobs)))

        born = self.compare({None: {JobStatus.PENDING, JobStatus.QUEUED}})
        assert born == {job_id for job_id, created in answers if created}
        assert not born & before.keys()
        for job, (job_id, created) in zip(jobs, answers, strict=True):
            if created:
                held = "trigger" if job["trigger_after_date"] else "user" if job["status"] == "PENDING" else None
                assert self.rows[job_id]["held"] == held

    # -------------------------------------------------------------------------------------------------- the daemons

    @rule(n=st.integers(0, 1), queue=st.sampled_from(QUEUES), slots=st.integers(1, 5))
    def claim(self, n: int, queue: str, slots: int) -> None:
        daemon = self.daemons[n]

        claim = self.stage.run(
            daemon.claimer.claim(self.stage.connection, queue=queue, slots=slots, skipped_classes=(), charges={})
        )

        before = self.rows
        assert len(claim.jobs) <= slots
        changed = self.compare_verb(Verb.CLAIM)
        for job in sorted(claim.jobs, key=lambda job: self.rows[job.card.job_id]["number"]):
            self.held.append(HeldByDaemon(daemon, held_run(job.card.job_id, job.run)))
        assert changed == {job.card.job_id for job in claim.jobs}
        assert {self.rows[job_id]["daemon_id"] for job_id in changed} <= {daemon.id}
        self.check_limits(before)
        self.check_order(changed, queue)

    @rule(picked=reports)
    def report(self, picked: list[tuple[int, Outcome | None]]) -> None:
        """Starts and ends, also of runs that are long over: their daemons may not have heard of it."""
        for pick, outcome in picked if self.held else ():
            held = self.held[-1 - pick % len(self.held)]
            self.reported[held.daemon.id].add((held.run.job_id, held.run.run))
            if outcome is None and held.outcome is None and held.run.started_at is None:
                held.run = held_run(held.run.job_id, held.run.run, started_at=time.monotonic())
                held.daemon.writer.start(held.run)
            elif outcome is not None and (held.run.started_at is not None or not isinstance(outcome, NEED_A_START)):
                held.outcome = held.outcome or outcome  # reported again after a lost answer, it is the same one
                held.daemon.writer.finish(held.run, held.outcome)

    @rule(picked=reports)
    def report_and_flush(self, picked: list[tuple[int, Outcome | None]]) -> None:
        self.report(picked)
        while waiting := [held.daemon for held in self.held if held.daemon.writer.waiting]:
            self.flush(waiting[0])

    @rule(n=st.integers(0, 1), queue=st.sampled_from(QUEUES), outcome=st.sampled_from(OUTCOMES))
    def work(self, n: int, queue: str, outcome: Outcome) -> None:
        """A daemon claims, starts what it got, and tells how the first of it ended."""
        self.claim(n, queue, 3)
        self.report_and_flush([(nth, None) for nth in range(3)])
        self.report_and_flush([(0, outcome)])

    def flush(self, daemon: Boot) -> None:
        before = self.rows
        daemon.stale_runs.clear()

        self.stage.run(daemon.writer.run_once())

        assert daemon.writer.waiting == 0
        changed = self.compare_verb(Verb.START, Verb.FINISH, Verb.RETRY, Verb.HAND_BACK)
        reported, self.reported[daemon.id] = self.reported[daemon.id], set()
        for job_id in changed & before.keys():
            was = before[job_id]
            assert was["daemon_id"] == daemon.id, "written by a daemon that had not claimed it"
            assert (job_id, was["run"]) in reported, "written by a run that is over"
        for job_id, run in daemon.stale_runs:
            # A rescue may have ended the job itself, of this run; else another run goes on.
            assert not live(before[job_id]) or (before[job_id]["run"], before[job_id]["daemon_id"]) != (run, daemon.id)
        for job_id, run in reported:
            row = self.rows[job_id]
            ended = any(h.outcome for h in self.held if (h.run.job_id, h.run.run) == (job_id, run))
            assert not (ended and live(row) and (row["run"], row["daemon_id"]) == (run, daemon.id))

    @rule(n=st.integers(0, 1))
    def lose_a_daemon(self, n: int) -> None:
        lost = self.daemons[n]
        self.daemons[n] = self.stage.boot()
        before = self.rows

        marked = self.stage.run(self.stage.rescuer.mark_lost_and_rescue(self.stage.connection, lost.id, 0))

        assert marked
        changed = self.compare_verb(Verb.RESCUE)
        assert changed == {job_id for job_id, row in before.items() if row["daemon_id"] == lost.id and live(row)}
        assert not [row for row in self.rows.values() if live(row) and row["lost_runs"] >= MAX_LOST_RUNS]

    # -------------------------------------------------------------------------------------------------------- users

    @rule(pick=picks, verb=st.sampled_from([Verb.STOP, Verb.ENQUEUE, Verb.RESTART]))
    def command(self, pick: int, verb: Verb) -> None:
        job_id = self.pick(pick)
        before = self.rows[job_id]
        legal = bool(targets(JobStatus(before["status"]), verb))
        if verb is Verb.ENQUEUE:
            legal = legal and before["held"] == "user"
        if verb is Verb.RESTART:
            legal = legal and before["expiration_date"] is None

        (result,) = self.stage.run(getattr(self.stage.commands, verb)(self.stage.connection, [job_id]))

        changed = self.compare_verb(verb)
        assert result.accepted is legal
        assert result.status == self.rows[job_id]["status"]
        assert changed <= {job_id}
        if verb is Verb.STOP and live(before):
            assert self.rows[job_id]["stop_requested_at"] is not None

    @rule(kind=st.sampled_from(["queue", "tenant", "share", "key"]), limit=st.sampled_from([NO_LIMIT, 1, 2]))
    def set_limit(self, kind: str, limit: int) -> None:
        limits, connection = self.stage.limits, self.stage.connection
        match kind:
            case "queue":
                work = limits.set_queue(connection, "default", max_running=limit)
            case "tenant":
                work = limits.set_tenant(connection, "acme", max_running=limit)
            case "share":
                work = limits.set_share(connection, "default", "bolt", max_running=limit)
            case _:
                work = connection.execute(
                    "UPDATE jobservice.concurrency_key SET max_running = greatest($1, 1) WHERE key = 'k'", limit
                )
        self.stage.run(work)
        self.compare({})

    # ------------------------------------------------------------------------------------------------------- upkeep

    @rule(pick=picks, work=st.sampled_from(["expire", "come_due", "unblock", "clean"]))
    def upkeep(self, pick: int, work: str) -> None:
        getattr(self, work)(self.pick(pick))

    def expire(self, job_id: UUID) -> None:
        self.set_date(job_id, "expiration_date")

        expired = self.stage.run(self.stage.upkeep.expire(self.stage.connection))

        changed = self.compare_verb(Verb.EXPIRE)
        assert len(changed) == expired
        waiting = {JobStatus.PENDING, JobStatus.QUEUED}
        assert not [row for row in self.rows.values() if row["expiration_date"] and row["status"] in waiting]

    def come_due(self, job_id: UUID) -> None:
        self.set_date(job_id, "trigger_after_date")

        enqueued = self.stage.run(self.stage.upkeep.enqueue_due(self.stage.connection))

        was_held = self.rows[job_id]["held"] in ("trigger", "backoff")
        assert len(self.compare_verb(Verb.ENQUEUE)) == enqueued == was_held

    def unblock(self, _: UUID) -> None:
        self.unblock_all()

        self.compare({})
        for jobs in self.keyed().values():
            room = jobs[0]["key_max"] - sum(live(job) for job in jobs)
            queued = [job for job in jobs if job["status"] == JobStatus.QUEUED]
            queued.sort(key=lambda job: (-job["priority"], job["number"]))
            assert not any(job["blocked"] for job in queued[: max(room, 0)])

    def clean(self, _: UUID) -> None:
        """All facts still lie in the outbox: nothing may go."""
        for status in FINAL:
            assert self.stage.run(self.stage.upkeep.clean(self.stage.connection, status, older_than=0.0)) == 0

    # ------------------------------------------------------------------------------------------------------- the end

    def teardown(self) -> None:
        self.stage.run(check_histories(self.stage.connection))
        self.bring_to_an_end()
        self.stage.run(check_histories(self.stage.connection))

    def bring_to_an_end(self) -> None:
        """Without limits, and with somebody who does the work, no job is left over."""
        connection, limits = self.stage.connection, self.stage.limits
        run = self.stage.run
        run(limits.set_queue(connection, "default", max_running=NO_LIMIT))
        run(limits.set_tenant(connection, "acme", max_running=NO_LIMIT))
        run(limits.set_share(connection, "default", "bolt", max_running=NO_LIMIT))
        run(
            connection.execute(
                "UPDATE jobservice.job_info SET trigger_after_date = now() WHERE held IN ('trigger', 'backoff')"
            )
        )
        run(self.stage.upkeep.enqueue_due(connection))
        run(self.stage.commands.enqueue(connection, list(self.stage.rows())))
        run(connection.execute("UPDATE jobservice.daemon SET stopped_at = now()"))
        run(self.stage.rescuer.rescue(connection))
        last = self.stage.boot()
        claimed = True
        while claimed:
            claimed = False
            self.unblock_all()
            for queue in QUEUES:
                claim = run(last.claimer.claim(connection, queue=queue, slots=100, skipped_classes=(), charges={}))
                claimed |= bool(claim.jobs)
                for job in claim.jobs:
                    last.writer.finish(
                        held_run(job.card.job_id, job.run, started_at=time.monotonic()), Succeeded(result="2")
                    )
            run(last.writer.run_once())
        left = Counter(row["status"] for row in self.stage.rows().values() if row["status"] not in FINAL)
        assert left == {}

    # -------------------------------------------------------------------------------------------------- comparisons

    def compare_verb(self, *verbs: Verb) -> set[UUID]:
        """Only what these verbs may do has been done; the jobs whose status changed."""
        steps: dict[JobStatus | None, set[JobStatus]] = {
            status: {to for verb in verbs for to in targets(status, verb)} for status in JobStatus
        }
        if Verb.START in verbs:  # a start and an end in one flush
            steps[JobStatus.TO_BE_RUN] |= steps[JobStatus.RUNNING]
            steps[None] = {JobStatus.QUEUED}  # the next job of a success
        return self.compare(steps)

    def compare(self, steps: dict[JobStatus | None, set[JobStatus]]) -> set[UUID]:
        before, self.rows = self.rows, self.stage.rows()
        assert before.keys() <= self.rows.keys()
        changed = set()
        for job_id, row in self.rows.items():
            was = before.get(job_id)
            if was is None or was["sequence"] != row["sequence"]:
                assert JobStatus(row["status"]) in steps.get(was and JobStatus(was["status"]), ())
                self.check_counts(was, row)
                changed.add(job_id)
            else:
                assert (row["status"], row["run"], row["daemon_id"]) == (was["status"], was["run"], was["daemon_id"])
            if row["blocked"]:
                assert row["status"] == JobStatus.QUEUED
                assert row["concurrency_key"] is not None
        return changed

    def check_counts(self, was: dict[str, Any] | None, row: dict[str, Any]) -> None:
        if was is None:
            assert (row["sequence"], row["run"]) == (1, 0)
            return
        both = was["status"] == JobStatus.TO_BE_RUN and row["sequence"] == was["sequence"] + 2
        assert both or row["sequence"] == was["sequence"] + 1
        assert row["run"] == was["run"] + (row["status"] == JobStatus.TO_BE_RUN)
        assert 0 <= row["attempt"] <= row["run"]

    def check_limits(self, before: Rows) -> None:
        """A claim does not lead above a limit; a limit that was lowered below what runs is nobody's fault."""
        read = self.stage.connection.fetch
        limits = [
            *((("queue",), row) for row in self.stage.run(read("SELECT * FROM jobservice.queue"))),
            *((("tenant",), row) for row in self.stage.run(read("SELECT * FROM jobservice.tenant"))),
            *((("queue", "tenant"), row) for row in self.stage.run(read("SELECT * FROM jobservice.tenant_share"))),
            *(
                (("tenant", "concurrency_key"), dict(row) | {"concurrency_key": row["key"]})
                for row in self.stage.run(read("SELECT * FROM jobservice.concurrency_key"))
            ),
        ]
        for columns, limit in limits:
            if limit["max_running"] is None:
                continue
            now, then = (
                sum(live(row) and all(row[c] == limit[c] for c in columns) for row in rows.values())
                for rows in (self.rows, before)
            )
            assert now <= max(limit["max_running"], then)

    def check_order(self, claimed: set[UUID], queue: str) -> None:
        """Inside a tenant nobody without a key is overtaken by a lower priority or a later submission."""
        for job_id in claimed:
            taken = self.rows[job_id]
            for row in self.rows.values():
                if (row["status"], row["queue"], row["tenant"]) == ("QUEUED", queue, taken["tenant"]):
                    behind = (-row["priority"], row["number"]) > (-taken["priority"], taken["number"])
                    assert behind or row["concurrency_key"] is not None

    def keyed(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.rows.values():
            if row["concurrency_key"] is not None:
                groups.setdefault((row["tenant"], row["concurrency_key"]), []).append(row)
        return groups

    # ------------------------------------------------------------------------------------------------------- things

    def pick(self, pick: int) -> UUID:
        return list(self.rows)[pick % len(self.rows)]

    def set_date(self, job_id: UUID, column: str) -> None:
        self.stage.run(
            self.stage.connection.execute(
                f"UPDATE jobservice.job_info SET {column} = clock_timestamp() WHERE id = $1", job_id
            )
        )

    def unblock_all(self) -> None:
        connection = self.stage.connection
        keys = self.stage.run(self.stage.upkeep.blocked_keys(connection))
        self.stage.run(self.daemons[0].claimer.unblock(connection, keys))


def live(row: dict[str, Any]) -> bool:
    return row["status"] in LIVE


def test_whatever_is_done_in_whatever_order_each_life_is_legal_complete_and_can_be_ended(stage: Stage) -> None:
    run_state_machine_as_test(
        lambda: JobLives(stage),
        # Not made smaller when it fails: on a real database that takes minutes.
        settings=settings(
            max_examples=30, stateful_step_count=40, deadline=None, derandomize=True, phases=[Phase.generate]
        ),
    )
