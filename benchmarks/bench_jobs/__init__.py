"""The job class that does nothing: what is left is the service's own cost."""

import asyncio

from jobservice import AbstractJob


class NoOp(AbstractJob):
    """Returns its number."""

    async def run(self, n: int) -> int:
        return n


class Forever(AbstractJob):
    """Runs until it is stopped."""

    async def run(self) -> None:
        await asyncio.Event().wait()
