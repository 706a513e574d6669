"""A job as the claim returned it: all that one run needs, so that no run asks the database for more."""

from dataclasses import dataclass
from datetime import datetime

from jobservice.domain.facts import JobCard


@dataclass(frozen=True, slots=True)
class ClaimedStage:
    """A stage and its pipeline as they stood right after the claim: the rows, as JSON texts.

    One object for all jobs of the stage that a claim brought: the data may be a megabyte.
    """

    stage: str
    pipeline: str


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """One claimed job. `parameters` and `user_metadata` are the JSON texts of objects."""

    card: JobCard
    run: int
    attempt: int
    max_attempts: int | None
    """None: as the job class says."""
    sequence: int
    priority: int
    parameters: str
    expired: bool
    """Whether the expiration date had passed when the job was claimed, by the database's clock."""
    timeout: float | None
    user_metadata: str
    created_date: datetime
    stage: ClaimedStage | None = None
    has_key: bool = False
    """Whether others of its concurrency key may wait for the commit of its end."""
