"""The demo's result as figures: one row for each tenant, totals, the checks; and as one JSON document. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobservice.demo.checks import Check
from jobservice.demo.plan import TENANTS
from jobservice.demo.record import Record
from jobservice.domain.states import FINAL, JobStatus
from jobservice.sdk.job_info import JobInfo


@dataclass(frozen=True, slots=True)
class TenantFigures:
    """One tenant's jobs; waits in seconds from QUEUED to RUNNING, of those that started."""

    tenant: str
    jobs: int
    succeeded: int
    failed: int
    aborted: int
    wait_p50: float | None
    wait_max: float | None
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Summary:
    """All that is told at the end."""

    tenants: Sequence[TenantFigures]
    total: TenantFigures
    checks: Sequence[Check]
    events: int
    work_seconds: float

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    def document(self, record: Record, seconds: float) -> dict[str, Any]:
        """For a program; `seconds` is the whole demo's time."""
        return {
            "ok": self.ok,
            "checks": [asdict(check) for check in self.checks],
            "tenants": [asdict(figures) for figures in self.tenants],
            "total": asdict(self.total),
            "events": self.events,
            "work_seconds": round(self.work_seconds, 3),
            "seconds": round(seconds, 3),
            "jobs": [_job(row, record) for row in record.rows.values()],
        }


def summed_up(record: Record, checks: Sequence[Check]) -> Summary:
    """The figures of a record that has been judged."""
    rows = list(record.rows.values())
    return Summary(
        tenants=[_figures(tenant, [row for row in rows if row.tenant == tenant]) for tenant in TENANTS],
        total=_figures("all", rows),
        checks=checks,
        events=record.distinct_events,
        work_seconds=record.seconds,
    )


def _figures(tenant: str, rows: Sequence[JobInfo]) -> TenantFigures:
    waits = [(row.start_date - row.queued_date).total_seconds() for row in rows if row.start_date and row.queued_date]
    results = [row.result for row in rows if isinstance(row.result, dict)]
    return TenantFigures(
        tenant=tenant,
        jobs=len(rows),
        succeeded=_count(rows, JobStatus.SUCCEEDED),
        failed=_count(rows, JobStatus.FAILED),
        aborted=_count(rows, JobStatus.ABORTED),
        wait_p50=round(statistics.median(waits), 3) if waits else None,
        wait_max=round(max(waits), 3) if waits else None,
        files=sum(result.get("count", 0) for result in results),
        bytes=sum(result.get("bytes", 0) for result in results),
    )


def _count(rows: Sequence[JobInfo], status: JobStatus) -> int:
    assert status in FINAL
    return sum(row.status is status for row in rows)


def _job(row: JobInfo, record: Record) -> dict[str, Any]:
    part = record.parts.get(row.job_id) if row.job_id else None
    return {
        "job_id": str(row.job_id),
        "part": part,
        "tenant": row.tenant,
        "job_class": row.job_class,
        "description": row.description,
        "priority": row.priority,
        "status": row.status,
        "sequence": row.sequence,
        "error": row.error_message,
    }
