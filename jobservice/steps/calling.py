"""Calls what users wrote: with the arguments it takes, awaited where it is async, on a thread where it is not."""

import asyncio
import inspect
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from structlog.typing import FilteringBoundLogger

from jobservice.sdk.steps import Listener


@lru_cache(maxsize=4096)
def takes(function: Callable[..., Any]) -> int:
    """How many arguments it takes without names, at most 2."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters):
        return 2
    required = [each for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty]
    return min(2, len(required))


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of it is awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def fitting(function: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """The last ones of `arguments`, as many as it takes."""
    count = takes(function)
    return arguments[len(arguments) - count :] if count else ()


async def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Its value. A plain function runs on a thread, so that the daemon goes on meanwhile."""
    given = fitting(function, *arguments)
    if is_async(function):
        return await function(*given)
    return await asyncio.to_thread(function, *given)


class Listeners:
    """Those of a job and those of one step, told in order; what one raises is logged and harms nothing."""

    def __init__(self, listeners: Iterable[Listener], log: FilteringBoundLogger) -> None:
        self._listeners = tuple(listeners)
        self._log = log

    def and_those(self, listeners: Iterable[Listener]) -> "Listeners":
        """With these behind them."""
        return Listeners((*self._listeners, *listeners), self._log)

    async def tell(self, hook: str, *arguments: Any) -> None:
        """Calls `hook` of each."""
        for listener in self._listeners:
            try:
                told = getattr(listener, hook)(*arguments)
                if inspect.isawaitable(told):
                    await told
            except Exception as error:  # noqa: BLE001 - a user's listener harms nothing
                self._log.error("listener.error", hook=hook, listener=type(listener).__name__, exc_info=error)
