"""Calls what users wrote: with the arguments it takes, awaited where it is async, on a thread where it is not."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from jobservice.domain.errors import JobAborted
from jobservice.sdk.steps import Listener
from jobservice.steps.context import Context
from jobservice.steps.savepoints import savepoint


@lru_cache(maxsize=4096)
def takes(function: Callable[..., Any], offered: int) -> int:
    """How many of the last `offered` arguments it is called with.

    As many as it must have. Of two the last one always, where it may have it: `process=Decimal` is meant to see items.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in ones, like int, do not tell
        return min(1, offered)
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters):
        return offered
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [each for each in parameters if each.kind in kinds]
    required = sum(each.default is inspect.Parameter.empty for each in places)
    least = 1 if offered > 1 and places else 0
    return min(offered, max(required, least))


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of it is awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def fitting(function: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """The last ones of `arguments`, as many as it takes."""
    return arguments[len(arguments) - takes(function, len(arguments)) :]


async def call(function: Callable[..., Any], context: Context, *arguments: Any) -> Any:
    """Its value. A plain function runs on a thread, so that the daemon goes on meanwhile.

    What that returns is awaited where it has to be: `lambda context, items: context.connection.executemany(…)` would
    write nothing else, with success.
    """
    given = fitting(function, context, *arguments)
    if is_async(function):
        return await function(*given)
    value = await context.threads.call(function, *given)
    return await value if inspect.isawaitable(value) else value


async def call_each(
    function: Callable[..., Any], context: Context, items: Sequence[Any]
) -> tuple[list[Any], dict[int, Exception]]:
    """What it made of each item, None where it raised, and what it raised, by the item's index.

    A plain function runs on a thread: one hop for all items. Raises JobAborted, and what a lost connection brings.
    """
    of_item = partial(function, context) if takes(function, 2) == 2 else function
    if not is_async(function):
        values, errors = await context.threads.call(_each, of_item, items)
        if any(issubclass(kind, Awaitable) for kind in set(map(type, values))):
            return await _awaited(context, _itself, values, errors)
        return values, errors
    return await _awaited(context, of_item, items, {})


async def _awaited(
    context: Context, of_item: Callable[[Any], Any], items: Iterable[Any], errors: dict[int, Exception]
) -> tuple[list[Any], dict[int, Exception]]:
    """What awaiting `of_item(item)` gives, one after the other."""
    values: list[Any] = []
    for item in items:
        try:
            value = of_item(item)
            values.append(await value if inspect.isawaitable(value) else value)
        except JobAborted:
            raise
        except Exception as error:
            if context.has_lost_connection(error):
                raise
            errors[len(values)] = error  # a user's code; the policies decide
            values.append(None)
    return values, errors


def _itself(value: Any) -> Any:
    return value


def _each(of_item: Callable[[Any], Any], items: Sequence[Any]) -> tuple[list[Any], dict[int, Exception]]:
    values: list[Any] = []
    errors: dict[int, Exception] = {}
    for item in items:
        try:
            values.append(of_item(item))
        except JobAborted:
            raise
        except Exception as error:  # noqa: BLE001 - a user's code; the policies decide
            errors[len(values)] = error
            values.append(None)
    return values, errors


class Listeners:
    """Those of a job and those of one step, told in order; what one raises is logged and harms nothing.

    Inside a transaction, each one that has the hook is called in a savepoint: what its statement breaks is undone.
    """

    def __init__(self, listeners: Iterable[Listener], log: FilteringBoundLogger) -> None:
        self._listeners = tuple(listeners)
        self._log = log

    def and_those(self, listeners: Iterable[Listener]) -> "Listeners":
        """With these behind them."""
        return Listeners((*self._listeners, *listeners), self._log)

    async def tell(self, hook: str, context: Context, *arguments: Any) -> None:
        """Calls `hook` of each."""
        for listener in self._listeners:
            told = getattr(listener, hook)
            if getattr(told, "__func__", None) is getattr(Listener, hook):
                continue
            transaction = context.open_transaction
            try:
                async with nullcontext() if transaction is None else savepoint(transaction):
                    answer = told(context, *arguments)
                    if inspect.isawaitable(answer):
                        await answer
            except Exception as error:  # noqa: BLE001 - a user's listener harms nothing
                self._log.error("listener.error", hook=hook, listener=type(listener).__name__, exc_info=error)
