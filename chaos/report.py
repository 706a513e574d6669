"""Prints what was done, what came of it, and what is wrong. Decides nothing but the exit status."""

import statistics
from collections import Counter
from dataclasses import dataclass, field

from chaos.checks import Evidence
from chaos.pipeline_checks import PipelineEvidence
from chaos.plan import Kind

SHOWN = 10
"""Lines for one broken promise."""


@dataclass
class Outcome:
    """Of one run."""

    seed: int
    versions: str
    seconds: float
    daemons: int
    lease: float
    faults: Counter[Kind]
    evidence: Evidence
    pipelines: PipelineEvidence
    wrong: dict[str, list[str]]
    notes: dict[str, object] = field(default_factory=dict)
    unforeseen: list[str] = field(default_factory=list)
    """Errors that daemons logged as such, and lived on: worth a look, no promise broken."""

    @property
    def kept(self) -> bool:
        """Whether all promises were."""
        return not any(self.wrong.values())


def show(outcome: Outcome) -> None:
    """The tables, on stdout."""
    print(f"\nseed {outcome.seed}: {outcome.seconds:.0f} s, {outcome.daemons} daemons, lease {outcome.lease:g} s")
    print(outcome.versions)
    print(f"\n{outcome.faults.total()} faults")
    for kind, count in sorted(outcome.faults.items()):
        _row(kind.value, count)
    _show_figures(outcome)
    print()
    for promise, wrong in outcome.wrong.items():
        print(f"{'WRONG' if wrong else '   ok'}  {promise}")
        for line in wrong[:SHOWN]:
            print(f"         {line}")
        if len(wrong) > SHOWN:
            print(f"         and {len(wrong) - SHOWN} more")
    for line in outcome.unforeseen[:SHOWN]:
        print(f" note  a daemon met an error that it did not foresee: {line}")
    if not outcome.kept:
        print(f"\nto see it again: ./dev chaos --seed {outcome.seed} with the same sizes")


def _show_figures(outcome: Outcome) -> None:
    told, recorder, found = outcome.evidence.told, outcome.evidence.recorder, outcome.evidence.found
    endings = Counter(run["ending"] for runs in found.runs.values() for run in runs)
    statuses = Counter(job["status"] for job in found.jobs.values())
    gap, _ = recorder.longest_gap
    print("\njobs and events")
    rows: dict[str, object] = {
        "jobs": len(found.jobs),
        **{f"  {status}": count for status, count in sorted(statuses.items())},
        "  FAILED: lost too often": sum(job["error_type"] == "LostTooOften" for job in found.jobs.values()),
        "executions": found.counts["executions"],
        "runs lost with their daemon (rescues)": endings["lost"],
        "runs handed back": endings["handed_back"],
        "runs retried": endings["retried"],
        "late writes of stale runs refused": found.counts["refused"],
        "stops": len(told.stopped),
        "restarts asked for": told.restarts.total(),
        "submissions said twice on purpose": told.repeated,
        "events, without repetitions": recorder.events,
        "events that came more than once": recorder.duplicates,
        "identities of daemons": len(found.daemons),
        "  marked lost": sum(daemon["lost_at"] is not None for daemon in found.daemons.values()),
        "time from a last heartbeat to the mark, median and longest": _silences(outcome),
        "longest time without an end of a job": f"{gap:.1f} s",
        **outcome.notes,
    }
    for name, value in rows.items():
        _row(name, value)
    _show_pipelines(outcome.pipelines)


def _show_pipelines(evidence: PipelineEvidence) -> None:
    statuses = Counter(row["status"] for row in evidence.pipelines.values())
    print("\npipelines")
    rows: dict[str, object] = {
        "pipelines": len(evidence.pipelines),
        **{f"  {status}": count for status, count in sorted(statuses.items())},
        "their jobs": sum(map(len, evidence.jobs.values())),
        **{f"said to them: {verb}": count for verb, count in sorted(evidence.told.verbs.items())},
        "pauses within which no claim may be": evidence.told.pauses.count,
        "events of them, without repetitions": evidence.recorder.events,
        "events of them that came more than once": evidence.recorder.duplicates,
    }
    for name, value in rows.items():
        _row(name, value)


def _silences(outcome: Outcome) -> str:
    seconds = sorted(
        (daemon["lost_at"] - daemon["beat_at"]).total_seconds()
        for daemon in outcome.evidence.found.daemons.values()
        if daemon["lost_at"] is not None
    )
    return f"{statistics.median(seconds):.1f} s, {seconds[-1]:.1f} s" if seconds else "none was lost"


def _row(name: str, value: object) -> None:
    shown = f"{value:,}" if isinstance(value, int) else str(value)
    print(f"  {name:62} {shown:>14}")
