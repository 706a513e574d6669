"""What must hold of pipelines when all is quiet again. Pure: one line for each thing that is wrong."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from chaos.pipeline_load import PipelinesTold
from chaos.pipeline_recorder import PipelineRecorder, PipelineSeen
from chaos.recorder import Seen
from jobservice.domain.pipelines import ENDED

SUCCEEDED = "SUCCEEDED"
ROUNDING = 1e-9


@dataclass(frozen=True)
class PipelineEvidence:
    """All that there is to compare."""

    told: PipelinesTold
    recorder: PipelineRecorder
    pipelines: Mapping[str, Any]
    """Rows by id."""
    stages: Mapping[str, list[Any]]
    """Rows by pipeline, in the order of the stages, with what was counted of their jobs' rows."""
    jobs: Mapping[str, list[str]]
    """The ids of a stage's jobs."""
    lives: Mapping[str, list[Seen]]
    """What was seen of each job."""


def check_pipelines(evidence: PipelineEvidence) -> dict[str, list[str]]:
    """What is wrong, by the promise that is broken; a promise that was kept has an empty list."""
    return {
        "every pipeline that was accepted is there, once, and has ended": list(_ended(evidence)),
        "the counters of stages are their rows": list(_counters(evidence)),
        "stages follow each other": list(_order(evidence)),
        "no job of a paused pipeline is claimed": list(_pauses(evidence)),
        "pipelines end as their stages did": list(_outcomes(evidence)),
        "every change of a pipeline or stage was published, in order": list(_events(evidence)),
    }


def _ended(evidence: PipelineEvidence) -> Iterator[str]:
    keys = [row["idempotency_key"] for row in evidence.pipelines.values()]
    for key in evidence.told.keys - set(keys):
        yield f"{key} was accepted, and there is no pipeline"
    if len(keys) != len(evidence.told.keys):
        yield f"{len(evidence.told.keys)} were accepted, {len(keys)} are there"
    for pipeline_id, row in evidence.pipelines.items():
        for what, status in ((_named(row), row["status"]), *_stages_of(evidence, pipeline_id)):
            if status not in ENDED:
                yield f"{what} is {status}"
        if row["ending"] or row["unsettled"]:
            yield f"{_named(row)} is {row['status']}, ending {row['ending']}, unsettled {row['unsettled']}"


def _stages_of(evidence: PipelineEvidence, pipeline_id: str) -> list[tuple[str, str]]:
    return [(f"stage {stage['id']}", stage["status"]) for stage in evidence.stages[pipeline_id]]


def _counters(evidence: PipelineEvidence) -> Iterator[str]:
    for stages in evidence.stages.values():
        for stage in stages:
            for name in ("total", "succeeded", "failed", "aborted"):
                if stage[name] != stage[f"counted_{name}"]:
                    yield f"stage {stage['id']} has {name} {stage[name]}; of its rows it are {stage[f'counted_{name}']}"


def _order(evidence: PipelineEvidence) -> Iterator[str]:
    for stages in evidence.stages.values():
        for before, after in pairwise(stages):
            for job in evidence.jobs.get(after["id"], []):
                claims = [seen.time for seen in evidence.lives.get(job, []) if seen.status == "TO_BE_RUN"]
                if claims and (before["status"] != SUCCEEDED or min(claims) < before["stop_date"]):
                    what = f"stage {before['id']}, which is {before['status']} since {before['stop_date']}"
                    yield f"{job} of stage {after['id']} was claimed at {min(claims)}, before the end of {what}"
        for stage in stages:
            if stage["status"] != SUCCEEDED:
                continue
            ends = [
                seen.time for job in evidence.jobs.get(stage["id"], []) for seen in evidence.lives.get(job, [])[-1:]
            ]
            if ends and max(ends) > stage["stop_date"]:
                yield f"stage {stage['id']} ended at {stage['stop_date']}, and a job of it at {max(ends)}"


def _pauses(evidence: PipelineEvidence) -> Iterator[str]:
    for pipeline_id, stages in evidence.stages.items():
        for pause in evidence.told.pauses.of(UUID(pipeline_id)):
            for job in (job for stage in stages for job in evidence.jobs.get(stage["id"], [])):
                for seen in evidence.lives.get(job, []):
                    if seen.status == "TO_BE_RUN" and pause.holds(seen.time):
                        yield f"{job} was claimed at {seen.time}; pipeline {pipeline_id} was paused since {pause.since}"


def _outcomes(evidence: PipelineEvidence) -> Iterator[str]:
    for pipeline_id, row in evidence.pipelines.items():
        stages = evidence.stages[pipeline_id]
        statuses = [stage["status"] for stage in stages]
        if (row["status"] == SUCCEEDED) != all(status == SUCCEEDED for status in statuses):
            yield f"{_named(row)} is {row['status']}, its stages {', '.join(statuses)}"
        for stage in stages:
            share = stage["allowed_failures"] if stage["on_failure"] == "continue" else 0.0
            bad = stage["failed"] + stage["aborted"]
            if stage["status"] == SUCCEEDED and bad > int(share * stage["total"] + ROUNDING):
                yield f"stage {stage['id']} SUCCEEDED, and {bad} of its {stage['total']} jobs did not"
    restarted = {str(each) for each in evidence.told.restarts}
    for stopped in {str(each) for each in evidence.told.stopped} - restarted:
        row = evidence.pipelines.get(stopped)
        if row is not None and row["status"] == "FAILED":
            yield f"{_named(row)} was stopped, and is FAILED"


def _events(evidence: PipelineEvidence) -> Iterator[str]:
    rows = {**evidence.pipelines, **{stage["id"]: stage for stages in evidence.stages.values() for stage in stages}}
    for subject in evidence.recorder.lives.keys() - rows.keys():
        yield f"there were events of {subject}, which there is not"
    for subject, row in rows.items():
        life = evidence.recorder.lives.get(subject, [])
        if [seen.sequence for seen in life] != list(range(2, row["sequence"] + 1)):
            yield f"{subject} is at {row['sequence']}, {row['status']}; published were, in this order, {_told(life)}"
            continue
        if any(after.previous != before.status for before, after in pairwise(life)):
            yield f"{subject}: a change does not begin where the one before ended: {_told(life)}"
        if life and life[-1].status != row["status"]:
            yield f"{subject} is {row['status']}; published were {_told(life)}"
    for pipeline_id, tree in evidence.recorder.trees.items():
        for before, after in pairwise(tree):
            if after.time < before.time:
                late, early = (f"{_told([seen])} of {seen.subject}" for seen in (before, after))
                yield f"of pipeline {pipeline_id}, {early} came after {late}"


def by_pipeline(stages: list[Any]) -> dict[str, list[Any]]:
    """Stages in their order."""
    trees: defaultdict[str, list[Any]] = defaultdict(list)
    for stage in sorted(stages, key=lambda stage: stage["position"]):
        trees[stage["pipeline_id"]].append(stage)
    return dict(trees)


def _named(row: Any) -> str:
    return f"pipeline {row['id']} ({row['idempotency_key']})"


def _told(life: list[PipelineSeen]) -> str:
    return " ".join(f"{seen.sequence}:{seen.status}" for seen in life)
