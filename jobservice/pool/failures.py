"""Owns how an exception is read: the abort in it, or a Failed with type, text and trace as they can be stored."""

import asyncio
import traceback
from types import FrameType, TracebackType

from jobservice.domain.errors import JobAborted
from jobservice.domain.names import STACK_TRACE_MAX, clean_text
from jobservice.domain.outcomes import Failed
from jobservice.sdk.results import qualified_name

_OURS = ("jobservice.pool.", "jobservice.sdk.", "jobservice.testing.", "jobservice.thread_answers")


def failed(error: BaseException) -> Failed:
    """What is stored of an error that ended a run. Never raises."""
    name = qualified_name(type(error))
    return Failed(
        error_type=clean_text(name, 500), message=clean_text(_text_of(error) or name), stack_trace=_trace_of(error)
    )


def abort_in(error: BaseException) -> JobAborted | None:
    """The abort that `error` is, or the first in a group (a TaskGroup's) that holds nothing but aborts and cancels."""
    if isinstance(error, JobAborted):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    aborts, others = error.split(JobAborted)
    if aborts is None or (others is not None and others.split(asyncio.CancelledError)[1] is not None):
        return None
    return next((found for each in aborts.exceptions if (found := abort_in(each))), None)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - a user's __str__
        return "<the error's text cannot be made>"


def _trace_of(error: BaseException) -> str | None:
    try:
        start = _first_of_the_job(error.__traceback__)
        lines = traceback.TracebackException(type(error), error, start, compact=True).format()
        return clean_text("".join(lines), STACK_TRACE_MAX)
    except BaseException:  # noqa: BLE001 - a user's __str__ and __cause__, out of memory, out of stack
        return None


def _first_of_the_job(trace: TracebackType | None) -> TracebackType | None:
    """The first frame that is not of the pool: the reader wants the job's code, not how it was called."""
    while trace is not None and _is_ours(trace.tb_frame):
        trace = trace.tb_next
    return trace


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(_OURS)
