"""Asks the functions of a step that only answer: `count`, `when`, `plan`. Writes nothing down."""

import asyncio
from collections.abc import Callable
from typing import Any

from jobservice.domain.errors import JobAborted
from jobservice.steps.calling import call
from jobservice.steps.connections import RECONNECTS, ConnectionGone, Ending, StepConnections, pause_before
from jobservice.steps.context import Context


async def ask(
    connections: StepConnections,
    context: Context,
    function: Callable[..., Any],
    *arguments: Any,
    ending: Ending,
) -> Any:
    """What it answers, given the context and `arguments`; asked anew after a lost connection, as often as chunks are.

    Raises JobAborted where the run is to end meanwhile, and ConnectionGone.
    """
    lost = 0
    while True:
        before = context.remember()
        try:
            async with connections.writing(ending) as connection:
                context.connection = connection
                return await call(function, context, *arguments)
        except ConnectionGone as gone:
            context.go_back(before)
            lost += 1
            if lost > RECONNECTS:
                raise
            context.log.warning("step.ask_again", reason=str(gone), attempt=lost)
        finally:
            context.connection = None
        await asyncio.sleep(pause_before(lost))
        if (reason := ending()) is not None:
            raise JobAborted(reason)
