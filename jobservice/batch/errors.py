"""What readers and writers refuse, and why.

JobServiceError
└── BatchError
    ├── BadRow             one record of a file cannot be read; `line`, `field`. A ValueError, for SkipPolicy(on=…)
    ├── HeaderMismatch     a file's header does not fit its record
    ├── UnknownName        a name pattern asks for what the job does not have; `name`
    ├── ChecksumMismatch   a file and its checksum differ, or there is none
    └── FileLost           a file is not, or not as far, what was committed of it
"""

from jobservice.domain.errors import JobServiceError


class BatchError(JobServiceError):
    """The root of all that readers and writers raise on purpose."""


class BadRow(BatchError, ValueError):
    """One record cannot be read. `line` is the number of its first line from 1, `field` None where all of it is bad."""

    def __init__(self, path: str, line: int, field: str | None, problem: str) -> None:
        super().__init__(f"{path}, line {line}{f', field {field}' if field else ''}: {problem}")
        self.line = line
        self.field = field


class HeaderMismatch(BatchError):
    """The header of a file does not fit the record."""


class UnknownName(BatchError):
    """A name pattern asks for what neither the job nor the partition has."""

    def __init__(self, pattern: str, name: str) -> None:
        super().__init__(f"{pattern!r}: the job has no parameter {name!r}, and it is none of part, n, parts")
        self.name = name


class ChecksumMismatch(BatchError):
    """A file is not what its checksum says, or has none."""


class FileLost(BatchError):
    """A file has gone, or is shorter than what was committed of it."""
