"""The job class of the fairness runs: it holds its slot for as long as it is told, and does nothing."""

import asyncio

from jobservice import AbstractJob


class Hold(AbstractJob):
    """Holds a slot."""

    async def run(self, milliseconds: float) -> None:
        await asyncio.sleep(milliseconds / 1000)
