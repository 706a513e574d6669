"""What the demo submits, and how each job is expected to end. Pure: asks no server and no clock."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from typing import Any, Final

from jobservice.demo.library import Directory
from jobservice.domain.outcomes import EXPIRED_MESSAGE
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo

AURORA, BOREALIS, CYGNUS = TENANTS = ("aurora", "borealis", "cygnus")
WORK_JOBS: Final = 36
"""Directories to be digested in one go, by all tenants together."""
DIRECTORIES: Final = WORK_JOBS + 2
"""Those, the late job's, and the foreign service's."""
CAPACITY: Final = 6
"""Jobs at once: few, so that jobs wait and priorities tell."""


class Part(StrEnum):
    """The part that a job plays."""

    WORK = "work"
    LATE = "late but urgent"
    FOREIGN = "sent by a foreign service"
    STOPPED_RUNNING = "to be stopped while it runs"
    STOPPED_WAITING = "to be stopped before it starts"
    MISSING_PARAMETER = "without its parameter"
    EXPIRED = "to expire while it waits"
    BROKEN = "to fail"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job is to end: its status, words that its error must hold, and whether it may have been RUNNING."""

    status: JobStatus
    error: str | None = None
    runs: bool = True
    traced: bool = False


ENDINGS: Final[dict[Part, Ending]] = {
    Part.WORK: Ending(JobStatus.SUCCEEDED),
    Part.LATE: Ending(JobStatus.SUCCEEDED),
    Part.FOREIGN: Ending(JobStatus.SUCCEEDED),
    Part.STOPPED_RUNNING: Ending(JobStatus.ABORTED),
    Part.STOPPED_WAITING: Ending(JobStatus.ABORTED, runs=False),
    Part.MISSING_PARAMETER: Ending(JobStatus.FAILED, "parameter 'root' is missing", runs=False),
    Part.EXPIRED: Ending(JobStatus.FAILED, EXPIRED_MESSAGE, runs=False),
    Part.BROKEN: Ending(JobStatus.FAILED, "invalid literal for int()", traced=True),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A job and its part."""

    part: Part
    job: JobInfo


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs: those submitted together, the late one after them, the foreign one as the body of a message."""

    together: tuple[Planned, ...]
    late: Planned
    expiring: Planned
    foreign: bytes
    files: int

    @property
    def jobs_by_tenant(self) -> dict[str, int]:
        """How many jobs each tenant will have had, the foreign service's included."""
        counts = Counter(each.job.tenant for each in (*self.together, self.late, self.expiring))
        return {tenant: counts[tenant] + (tenant == BOREALIS) for tenant in TENANTS}


def planned(directories: Sequence[Directory], checksum_class: str) -> Plan:
    """The plan for these directories; where they are few, some are digested by several jobs.

    `checksum_class` digests a tree under `root`.
    """
    late, foreign, *rest = islice(cycle(directories), DIRECTORIES)

    def checksums(tenant: str, directory: Directory, priority: str) -> JobInfo:
        return _job(checksum_class, tenant, directory.name, priority, {"root": str(directory.path)})

    # One tenant's work is urgent to nobody: the late job is to overtake it.
    priorities = {AURORA: "LOW", BOREALIS: "MEDIUM", CYGNUS: "MEDIUM"}
    work = [
        Planned(Part.WORK, checksums(tenant, directory, priorities[tenant]))
        for number, tenant in enumerate(TENANTS)
        for directory in rest[number::3]
    ]
    body = {
        "job_class": checksum_class,
        "parameters": {"root": str(foreign.path)},
        "description": foreign.name,
        "owner": "a foreign service",
    }
    return Plan(
        together=(*work, *_odd_ones(checksum_class)),
        late=Planned(Part.LATE, checksums(AURORA, late, "HIGH")),
        expiring=Planned(Part.EXPIRED, _job(checksum_class, CYGNUS, "too late", "MEDIUM", {"root": str(late.path)})),
        foreign=json.dumps(body).encode(),
        files=sum(directory.files for directory in (late, foreign, *rest)),
    )


def _odd_ones(checksum_class: str) -> list[Planned]:
    return [
        # First in its tenant, so that it runs while others wait.
        Planned(Part.STOPPED_RUNNING, _job("UntilStopped", BOREALIS, "until stopped", "VERY_HIGH", {})),
        Planned(Part.MISSING_PARAMETER, _job(checksum_class, BOREALIS, "no root given", "MEDIUM", {})),
        Planned(Part.STOPPED_WAITING, _job("UntilStopped", CYGNUS, "never started", "LOW", {})),
        Planned(Part.BROKEN, _job("ReadAnswer", CYGNUS, "no number", "MEDIUM", {"text": "forty-two"})),
    ]


def _job(job_class: str, tenant: str, description: str, priority: str, parameters: dict[str, Any]) -> JobInfo:
    return JobInfo(
        job_class, tenant=tenant, description=description, priority=priority, parameters=parameters, owner="demo"
    )
