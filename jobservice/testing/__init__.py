"""For tests of users: run a job class without any server, or against private ones.

The names are imported on first use: pytest loads `jobservice.testing.fixtures` in every test run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobservice.testing.kit import JobTestResult as JobTestResult
    from jobservice.testing.kit import arun_job as arun_job
    from jobservice.testing.kit import run_job as run_job

__all__ = ["JobTestResult", "arun_job", "run_job"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'jobservice.testing' has no attribute {name!r}")
    return getattr(import_module("jobservice.testing.kit"), name)
