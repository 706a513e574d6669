"""The job class that does nothing: what is left is the service's own cost."""

from jobservice import AbstractJob


class NoOp(AbstractJob):
    """Returns its number."""

    async def run(self, n: int) -> int:
        return n
