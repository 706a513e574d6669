"""Exit codes, and which error ends with which. Every command passes through `told`; none prints an error itself."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NoReturn

import typer

from jobservice.domain.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    DefinitionError,
    InvalidSubmission,
    JobParameterInvalid,
    JobParameterMissing,
    JobServiceError,
    NotLegal,
    SchemaError,
    ServerStartError,
    UnavailableError,
    UnknownInstance,
    UnknownJob,
    UnknownPipeline,
    UnknownSchedule,
    UnknownStage,
)
from jobservice.domain.states import JobStatus


class Exit(IntEnum):
    """What the exit status of every command means."""

    OK = 0
    FAILED = 1
    """The job FAILED, or not all is well; nothing else ends with 1."""
    USAGE = 2
    ABORTED = 3
    UNKNOWN = 4
    NOT_LEGAL = 5
    SCHEMA = 6
    DATABASE = 7
    BROKER = 8
    BUG = 70
    TIMED_OUT = 124
    INTERRUPTED = 130


class UnknownName(JobServiceError):
    """There is no tenant, queue, message or subscription of this name."""


class BadUsage(JobServiceError):
    """Options that do not go together, or a value that cannot be read."""


_EXITS: tuple[tuple[type[BaseException], Exit], ...] = (
    (UnknownJob, Exit.UNKNOWN),
    (UnknownPipeline, Exit.UNKNOWN),
    (UnknownStage, Exit.UNKNOWN),
    (UnknownInstance, Exit.UNKNOWN),
    (UnknownName, Exit.UNKNOWN),
    (UnknownSchedule, Exit.UNKNOWN),
    (NotLegal, Exit.NOT_LEGAL),
    (SchemaError, Exit.SCHEMA),
    (DatabaseUnavailable, Exit.DATABASE),
    (BrokerUnavailable, Exit.BROKER),
    (ServerStartError, Exit.BROKER),
    (UnavailableError, Exit.DATABASE),
    (BadUsage, Exit.USAGE),
    (ConfigurationError, Exit.USAGE),
    (DefinitionError, Exit.USAGE),
    (InvalidSubmission, Exit.USAGE),
    (JobParameterMissing, Exit.USAGE),
    (JobParameterInvalid, Exit.USAGE),
    (TimeoutError, Exit.TIMED_OUT),
    (JobServiceError, Exit.USAGE),
)

_FINAL = {JobStatus.SUCCEEDED: Exit.OK, JobStatus.FAILED: Exit.FAILED, JobStatus.ABORTED: Exit.ABORTED}


def exit_of(error: BaseException) -> Exit:
    """The exit status that tells of `error`; BUG for whatever is not foreseen."""
    return next((code for kind, code in _EXITS if isinstance(error, kind)), Exit.BUG)


def exit_of_status(status: JobStatus) -> Exit:
    """The exit status of a job that was waited for."""
    return _FINAL[status]


def worst(codes: Iterable[int]) -> int:
    """One exit status for several ids: an unreachable server tells more than an unknown id, and that more than none."""
    present = set(codes)
    order = (Exit.BROKER, Exit.DATABASE, Exit.SCHEMA, Exit.NOT_LEGAL, Exit.UNKNOWN, Exit.USAGE)
    return next((code for code in order if code in present), Exit.OK)


def tell(text: str) -> None:
    """Say something to the person at the terminal: stdout is for data."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def told(debug: bool) -> Iterator[None]:
    """Turn whatever is raised inside into words on stderr and an exit status; `debug` shows the trace as well."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    except BrokenPipeError:
        _leave_quietly()
    except Exception as error:  # noqa: BLE001 - whatever happens is told in words, not as a trace
        code = exit_of(error)
        if debug:
            traceback.print_exc(file=sys.stderr)
        for line in _words(error, code).splitlines():
            tell(f"jobservice: {line}")
        raise typer.Exit(code) from None


def _words(error: Exception, code: Exit) -> str:
    if code is not Exit.BUG:
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}\nthis is a fault of jobservice itself; --debug shows where it happened"


def _leave_quietly() -> NoReturn:
    # `| head` went away: Python would complain about it once more when it flushes stdout at its own end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(Exit.OK) from None
