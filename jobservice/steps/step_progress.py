"""The progress of a job with steps: committed of counted items over all its steps."""

from jobservice.sdk.abstract_job import AbstractJob
from jobservice.steps.book import StepState


class StepProgress:
    """Of one step of a run. Steps that are not begun yet are taken to be as long as those that are."""

    def __init__(self, job: AbstractJob, done: int, expected: int, so_far: int, chunks: int) -> None:
        """`done` and `expected` are those of the other steps; `so_far` of the job's `chunks` steps have been begun."""
        self._job = job
        self._done = done
        self._expected = expected
        self.so_far = so_far
        self.chunks = chunks

    def begin(self, state: StepState) -> None:
        """What stands already; that it was done before this run says nothing of how fast this one is."""
        self._job._context.progress.goes_on_from(self._done + state.counts.read)
        self.show(state)

    def show(self, state: StepState) -> None:
        """After a commit. Without a count there is a message only."""
        read, expected = state.counts.read, state.expected
        part = "" if state.part < 0 else f", part {state.part}"
        if expected is None:
            self._job.set_progress(message=f"{state.step}{part}: {read:,} read")
            return
        total = (self._expected + expected) * self.chunks // max(1, self.so_far)
        message = f"{state.step}{part}: {read:,} of {expected:,}"
        self._job.set_progress(done=self._done + read, total=total, message=message)
