"""What must hold when all is quiet again, whatever was done. Pure: compares what was told, seen and found.

Each check gives one line for each thing that is wrong.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any

from chaos.findings import Findings
from chaos.load import Told
from chaos.plan import LIMITED
from chaos.recorder import Recorder, Seen
from jobservice.domain.states import JobStatus
from jobservice.domain.transitions import TRANSITIONS

RESTARTED_PIPELINE = {("FAILED", "PENDING"), ("ABORTED", "PENDING")}
"""Only jobs of a pipeline that is restarted wait for their stage again."""
STEPS = {
    (str(status), str(to)) for (status, _), targets in TRANSITIONS.items() for to in targets if status is not to
} - RESTARTED_PIPELINE
FINAL = {str(status) for status in JobStatus if status.final}
LIVE = ("TO_BE_RUN", "RUNNING")
LOST_TOO_OFTEN = "LostTooOften"


@dataclass(frozen=True)
class Evidence:
    """All that there is to compare."""

    told: Told
    recorder: Recorder
    found: Findings
    first_sequence: int
    """Of the first event of a job: 1 where submissions are published, else 2."""
    restarted_pipelines: frozenset[str] = frozenset()
    """Whose restart was asked for, and with it that of their jobs."""


def check(evidence: Evidence, *, max_lost_runs: int) -> dict[str, list[str]]:
    """What is wrong, by the promise that is broken; a promise that was kept has an empty list."""
    return {
        "every job that was accepted is there, once": list(_accepted(evidence)),
        "every job has exactly one end": list(_ends(evidence)),
        "every status change was published, in order": list(_sequences(evidence)),
        "no two runs overlapped in effect": list(_effects(evidence)),
        "no limit was exceeded": list(_limits(evidence)),
        "no stop was forgotten": list(_stops(evidence)),
        "max_attempts was respected": list(_attempts(evidence)),
        "rescues were counted rightly": list(_rescues(evidence, max_lost_runs)),
        "what a success submits came with it": list(_followers(evidence)),
        "nothing waits to be published": list(_outbox(evidence)),
    }


def _accepted(evidence: Evidence) -> Iterator[str]:
    keys = evidence.found.keys
    for key in evidence.told.keys.keys() - keys.keys():
        yield f"{key} was accepted, and there is no job"
    for key, job_id in keys.items():
        if key in evidence.told.keys and job_id not in evidence.found.jobs:
            yield f"{key} was job {job_id}, which is gone"
    followers = sum(job["correlation_id"] is not None for job in evidence.found.jobs.values())
    alone = sum(job["pipeline_id"] is None for job in evidence.found.jobs.values())
    if alone != len(evidence.told.keys) + followers:
        yield f"{len(evidence.told.keys)} were accepted, {alone - followers} are there"


def _ends(evidence: Evidence) -> Iterator[str]:
    for job_id, job in evidence.found.jobs.items():
        life = evidence.recorder.lives.get(job_id, [])
        if job["status"] not in FINAL:
            yield f"{_named(job)} has not ended: {job['status']}, run {job['run']}, daemon {job['daemon_id']}"
            continue
        restarts = sum(seen.previous in FINAL for seen in life)
        ends = sum(seen.final for seen in life)
        if ends != restarts + 1:
            yield f"{_named(job)} ended {ends} times and was restarted {restarts} times: {_told(life)}"
        asked = job["pipeline_id"] in evidence.restarted_pipelines
        if restarts and not asked and not any(str(each) == job_id for each in evidence.told.restarts):
            yield f"{_named(job)} was restarted, and nobody asked for it"


def _sequences(evidence: Evidence) -> Iterator[str]:
    recorder = evidence.recorder
    yield from recorder.overtaken
    for job_id in recorder.lives.keys() - evidence.found.jobs.keys():
        yield f"there were events of {job_id}, which there is not"
    for job_id, job in evidence.found.jobs.items():
        life = sorted(recorder.lives.get(job_id, []), key=lambda seen: seen.sequence)
        if [seen.sequence for seen in life] != list(range(evidence.first_sequence, job["sequence"] + 1)):
            yield f"{_named(job)} is at {job['sequence']}, {job['status']}; published were {_told(life)}"
            continue
        restarted = job["pipeline_id"] in evidence.restarted_pipelines
        steps = STEPS | RESTARTED_PIPELINE if restarted else STEPS
        for before, after in pairwise(life):
            if after.previous != before.status or (before.status, after.status) not in steps:
                yield f"{_named(job)}: {after.status} after {before.status}: {_told(life)}"
            if after.run != before.run + (after.status == "TO_BE_RUN"):
                yield f"{_named(job)}: run {after.run} after {before.run}: {_told(life)}"
            if after.time < before.time:
                yield f"{_named(job)}: dates go backwards at {after.sequence}: {_told(life)}"
        if life and (life[-1].status, life[-1].run) != (job["status"], job["run"]):
            yield f"{_named(job)} is {job['status']} by run {job['run']}; published were {_told(life)}"


def _effects(evidence: Evidence) -> Iterator[str]:
    for row in evidence.found.executed_twice:
        yield f"run {row['run']} of {row['job_id']} was executed twice"
    for job_id, job in evidence.found.jobs.items():
        effect = evidence.found.effects.get(job_id)
        if job["status"] == "SUCCEEDED":
            if job["result"] != str(job["run"]):
                yield f"{_named(job)} SUCCEEDED by run {job['run']} with the result of run {job['result']}"
            of_this_run = effect is not None and effect["done"] and effect["run"] == job["run"]
            if not of_this_run and job["job_class"] != "Sleep":
                yield f"{_named(job)} SUCCEEDED by run {job['run']}; its effect is {effect and dict(effect)}"
        if effect is not None and effect["run"] > job["run"]:
            yield f"{_named(job)} is at run {job['run']}, and run {effect['run']} has written"
        if (job["error_type"] or "").endswith("StaleRun"):
            yield f"{_named(job)}: a run that the fence had refused has ended it"


def _limits(evidence: Evidence) -> Iterator[str]:
    """By the rows: from the claim of a run to its end, as the database's clock says."""
    moments: defaultdict[tuple[str, int], list[tuple[datetime, int]]] = defaultdict(list)
    for job_id, job in evidence.found.jobs.items():
        limits = [(f"key {job['concurrency_key']} of {job['tenant']}", 1)] if job["concurrency_key"] else []
        if job["tenant"] in LIMITED:
            limits.append((f"tenant {job['tenant']}", LIMITED[job["tenant"]]))
        changes = [
            (seen.time, (seen.status in LIVE) - (seen.previous in LIVE))
            for seen in evidence.recorder.lives.get(job_id, [])
        ]
        for limit in limits:
            moments[limit] += [change for change in changes if change[1]]
    for (whose, most), changes in moments.items():
        highest = max(accumulate(change for _, change in sorted(changes)), default=0)
        if highest > most:
            yield f"{whose} may have {most} live jobs, and had {highest}"


def _stops(evidence: Evidence) -> Iterator[str]:
    for job_id, job in evidence.found.jobs.items():
        marked = job["stop_requested_at"]
        if marked is not None:
            claims = [
                seen for seen in _last_life(evidence.recorder.lives.get(job_id, [])) if seen.status == "TO_BE_RUN"
            ]
            if claims and claims[-1].time > marked:
                yield f"{_named(job)} was claimed at {claims[-1].time}, after its stop at {marked}"
    for stopped, how in evidence.told.stopped.items():
        job = evidence.found.jobs.get(str(stopped))
        if job is None:
            continue
        ended_otherwise = job["status"] != "ABORTED" and job["error_type"] != LOST_TOO_OFTEN
        if job["job_class"].startswith("Linger") and ended_otherwise:
            yield f"{_named(job)} was stopped by {how} and is {job['status']}: {job['error_message']}"


def _attempts(evidence: Evidence) -> Iterator[str]:
    for job_id, job in evidence.found.jobs.items():
        allowed = job["max_attempts"] or 1
        life = evidence.recorder.lives.get(job_id, [])
        if any(seen.attempt > allowed for seen in life):
            yield f"{_named(job)} may be attempted {allowed} times: {_told(life)}"
        if sum(seen.will_retry for seen in _last_life(life)) >= allowed:
            yield f"{_named(job)} may be attempted {allowed} times, and was retried too often: {_told(life)}"
        if job["job_class"] in ("Stumble", "Fail") and job["status"] in ("SUCCEEDED", "FAILED"):
            failures = json.loads(job["parameters"]).get("failures", allowed)
            expected = ("SUCCEEDED", failures + 1) if failures < allowed else ("FAILED", allowed)
            if job["error_type"] != LOST_TOO_OFTEN and (job["status"], job["attempt"]) != expected:
                yield f"{_named(job)} was to be {expected}, is {job['status']} at {job['attempt']}: {_told(life)}"


def _rescues(evidence: Evidence, max_lost_runs: int) -> Iterator[str]:
    for job_id, job in evidence.found.jobs.items():
        life = _last_life(evidence.recorder.lives.get(job_id, []))
        before = life[0].run if life and life[0].previous in FINAL else 0
        lost = [run for run in evidence.found.runs.get(job_id, []) if run["ending"] == "lost" and run["run"] > before]
        if job["lost_runs"] not in (len(lost), len(lost) + (job["status"] in ("FAILED", "ABORTED"))):
            yield f"{_named(job)} counts {job['lost_runs']} lost runs; its history has {len(lost)}"
        if job["error_type"] == LOST_TOO_OFTEN and job["lost_runs"] != max_lost_runs:
            yield f"{_named(job)} was lost too often after {job['lost_runs']} times"
        for run in lost:
            daemon = evidence.found.daemons.get(run["daemon_id"])
            if daemon is not None and daemon["lost_at"] is None:
                yield f"run {run['run']} of {_named(job)} counts as lost, and its daemon {daemon['id']} was not"


def _followers(evidence: Evidence) -> Iterator[str]:
    after: defaultdict[str, int] = defaultdict(int)
    for job in evidence.found.jobs.values():
        if job["correlation_id"] is not None:
            after[job["correlation_id"].removeprefix("after ")] += 1
    for job_id, job in evidence.found.jobs.items():
        if job["job_class"] == "Follow" and after[job_id] != (job["status"] == "SUCCEEDED"):
            yield f"{_named(job)} is {job['status']}, and {after[job_id]} jobs follow it"


def _outbox(evidence: Evidence) -> Iterator[str]:
    counts = evidence.found.counts
    if counts["outbox"]:
        yield f"{counts['outbox']} rows are in the outbox"
    if counts["outbox_rejected"]:
        yield f"{counts['outbox_rejected']} rows of the outbox could not be told"


def _last_life(life: list[Seen]) -> list[Seen]:
    """What came since the last restart."""
    ordered = sorted(life, key=lambda seen: seen.sequence)
    restarts = [n for n, seen in enumerate(ordered) if seen.previous in FINAL]
    return ordered[restarts[-1] if restarts else 0 :]


def _named(job: Any) -> str:
    return f"{job['job_class']} {job['id']}"


def _told(life: list[Seen]) -> str:
    return " ".join(f"{seen.sequence}:{seen.status}/{seen.run}.{seen.attempt}" for seen in life)
