"""The states of a job. The table of legal changes between them is in `transitions`."""

from enum import StrEnum
from typing import Final


class JobStatus(StrEnum):
    """Where a job stands. The values are the words in the database, in events and on the command line."""

    PENDING = "PENDING"
    """Known, but held: by a user, a trigger date, a back-off or a stage that is not open."""
    QUEUED = "QUEUED"
    """Ready: any daemon that serves its queue may claim it."""
    TO_BE_RUN = "TO_BE_RUN"
    """Claimed by a daemon, being prepared."""
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"

    __hash__ = str.__hash__  # Enum's own is Python's work, several times for each event

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in FINAL


WAITING: Final = frozenset({JobStatus.PENDING, JobStatus.QUEUED})
LIVE: Final = frozenset({JobStatus.TO_BE_RUN, JobStatus.RUNNING})
FINAL: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.ABORTED})


class Hold(StrEnum):
    """What holds a PENDING job; only the verb of that reason releases it."""

    USER = "user"
    TRIGGER = "trigger"
    BACKOFF = "backoff"
    STAGE = "stage"
    PARTS = "parts"
