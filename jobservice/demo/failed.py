"""The error of a demo that could not be played to its end. A check that does not hold is no error, but a result."""

from jobservice.domain.errors import JobServiceError


class DemoFailed(JobServiceError):
    """The text says at what, and has the daemon's last lines where it is the daemon."""
