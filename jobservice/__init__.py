"""JobService: jobs in PostgreSQL, events over RabbitMQ, fair between tenants, nothing lost.

The names below are the public Python API; they are imported on first use, so that the pure parts need no driver.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobservice.client.service import JobInfoService as JobInfoService
    from jobservice.domain.errors import InvalidSubmission as InvalidSubmission
    from jobservice.domain.errors import JobAborted as JobAborted
    from jobservice.domain.errors import JobParameterInvalid as JobParameterInvalid
    from jobservice.domain.errors import JobParameterMissing as JobParameterMissing
    from jobservice.domain.errors import JobServiceError as JobServiceError
    from jobservice.domain.errors import JobTimeout as JobTimeout
    from jobservice.domain.errors import NotLegal as NotLegal
    from jobservice.domain.errors import Retry as Retry
    from jobservice.domain.errors import UnavailableError as UnavailableError
    from jobservice.domain.errors import UnknownJob as UnknownJob
    from jobservice.domain.errors import UnknownPipeline as UnknownPipeline
    from jobservice.domain.errors import UnknownStage as UnknownStage
    from jobservice.domain.pipelines import PipelineStatus as PipelineStatus
    from jobservice.domain.retry import ExponentialBackoff as ExponentialBackoff
    from jobservice.domain.retry import FixedBackoff as FixedBackoff
    from jobservice.domain.states import JobStatus as JobStatus
    from jobservice.sdk.abstract_job import AbstractJob as AbstractJob
    from jobservice.sdk.job_info import JobInfo as JobInfo
    from jobservice.sdk.pipeline import Pipeline as Pipeline
    from jobservice.sdk.pipeline import PipelineInfo as PipelineInfo
    from jobservice.sdk.pipeline import Stage as Stage
    from jobservice.sdk.pipeline import StageInfo as StageInfo
    from jobservice.sdk.schedule import Schedule as Schedule
    from jobservice.sdk.schedule import ScheduleInfo as ScheduleInfo
    from jobservice.sdk.steps import At as At
    from jobservice.sdk.steps import Chunk as Chunk
    from jobservice.sdk.steps import Listener as Listener
    from jobservice.sdk.steps import NotIdentifying as NotIdentifying
    from jobservice.sdk.steps import Partition as Partition
    from jobservice.sdk.steps import PartResult as PartResult
    from jobservice.sdk.steps import Range as Range
    from jobservice.sdk.steps import RetryPolicy as RetryPolicy
    from jobservice.sdk.steps import SkipPolicy as SkipPolicy
    from jobservice.sdk.steps import StepContext as StepContext
    from jobservice.sdk.steps import Task as Task

_HOMES = {
    "AbstractJob": "jobservice.sdk.abstract_job",
    "JobInfo": "jobservice.sdk.job_info",
    "JobInfoService": "jobservice.client.service",
    "JobStatus": "jobservice.domain.states",
    "JobServiceError": "jobservice.domain.errors",
    "ExponentialBackoff": "jobservice.domain.retry",
    "FixedBackoff": "jobservice.domain.retry",
    "JobAborted": "jobservice.domain.errors",
    "JobTimeout": "jobservice.domain.errors",
    "Retry": "jobservice.domain.errors",
    "JobParameterMissing": "jobservice.domain.errors",
    "JobParameterInvalid": "jobservice.domain.errors",
    "InvalidSubmission": "jobservice.domain.errors",
    "NotLegal": "jobservice.domain.errors",
    "UnavailableError": "jobservice.domain.errors",
    "UnknownJob": "jobservice.domain.errors",
    "UnknownPipeline": "jobservice.domain.errors",
    "UnknownStage": "jobservice.domain.errors",
    "Pipeline": "jobservice.sdk.pipeline",
    "PipelineInfo": "jobservice.sdk.pipeline",
    "PipelineStatus": "jobservice.domain.pipelines",
    "Stage": "jobservice.sdk.pipeline",
    "StageInfo": "jobservice.sdk.pipeline",
    "Schedule": "jobservice.sdk.schedule",
    "ScheduleInfo": "jobservice.sdk.schedule",
    "At": "jobservice.sdk.steps",
    "Chunk": "jobservice.sdk.steps",
    "Listener": "jobservice.sdk.steps",
    "NotIdentifying": "jobservice.sdk.steps",
    "Partition": "jobservice.sdk.steps",
    "PartResult": "jobservice.sdk.steps",
    "Range": "jobservice.sdk.steps",
    "RetryPolicy": "jobservice.sdk.steps",
    "SkipPolicy": "jobservice.sdk.steps",
    "StepContext": "jobservice.sdk.steps",
    "Task": "jobservice.sdk.steps",
}
__all__ = [
    "AbstractJob",
    "At",
    "Chunk",
    "ExponentialBackoff",
    "FixedBackoff",
    "InvalidSubmission",
    "JobAborted",
    "JobInfo",
    "JobInfoService",
    "JobParameterInvalid",
    "JobParameterMissing",
    "JobServiceError",
    "JobStatus",
    "JobTimeout",
    "Listener",
    "NotIdentifying",
    "NotLegal",
    "PartResult",
    "Partition",
    "Pipeline",
    "PipelineInfo",
    "PipelineStatus",
    "Range",
    "Retry",
    "RetryPolicy",
    "Schedule",
    "ScheduleInfo",
    "SkipPolicy",
    "Stage",
    "StageInfo",
    "StepContext",
    "Task",
    "UnavailableError",
    "UnknownJob",
    "UnknownPipeline",
    "UnknownStage",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'jobservice' has no attribute {name!r}")
    return getattr(import_module(home), name)
