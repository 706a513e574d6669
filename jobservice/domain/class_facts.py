"""A fact of a job class: that it was held or released, as `pipeline_outbox` keeps it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

ClassStatus = Literal["HELD", "RELEASED"]

CLASS_KIND: Final = "class"
CLASS_STATUSES: Final = get_args(ClassStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFact:
    """One change of a class, `*` for all. `sequence` grows with each change, and counts nothing."""

    job_class: str
    status: ClassStatus
    reason: str | None
    time: datetime
    sequence: int
