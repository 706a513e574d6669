"""One call of one command: the global options wherever they stand, and what they lead to.

`command` gives a function the global options, turns errors into exits, and runs it to its end. A command's function
takes a `Call` first and returns its exit status, or None for 0.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from jobservice import logs
from jobservice.cli.exits import told
from jobservice.cli.output import Output
from jobservice.config import Settings

_PANEL = "Global options"

DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", metavar="URL", help="PostgreSQL.", rich_help_panel=_PANEL)
]
AmqpUrl = Annotated[str | None, typer.Option("--amqp-url", metavar="URL", help="RabbitMQ.", rich_help_panel=_PANEL)]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.", rich_help_panel=_PANEL)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=_PANEL)]
Debug = Annotated[bool, typer.Option("--debug", help="Show traces of errors, and log all.", rich_help_panel=_PANEL)]

GLOBAL_OPTIONS: dict[str, tuple[Any, Any]] = {
    "database_url": (DatabaseUrl, None),
    "amqp_url": (AmqpUrl, None),
    "config": (Config, None),
    "json": (Json, False),
    "debug": (Debug, False),
}


@dataclass(frozen=True)
class Call:
    """What a command knows of its surroundings."""

    database_url: str | None = None
    amqp_url: str | None = None
    config: Path | None = None
    json: bool = False
    debug: bool = False

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings, read when first needed: commands that need none run with a broken file, too."""
        return self.settings_with()

    @functools.cached_property
    def output(self) -> Output:
        """Where the data goes."""
        return Output(as_json=self.json)

    def settings_with(self, **sections: dict[str, Any]) -> Settings:
        """The settings with a command's own options over them."""
        urls = {"database_url": self.database_url, "amqp_url": self.amqp_url}
        logging = {"logs": {"level": "debug"}} if self.debug else {}
        given = {name: url for name, url in urls.items() if url}
        return Settings.load(self.config, {**given, **logging, **sections})


Body = Callable[..., int | None] | Callable[..., Awaitable[int | None]]


def command(app: typer.Typer, name: str, **options: Any) -> Callable[[Body], Body]:
    """Register a function under `name`: its own options, then the global ones."""

    def register(function: Body) -> Body:
        app.command(name, **options)(_with_global_options(function))
        return function

    return register


def _with_global_options(function: Body) -> Callable[..., None]:
    own = list(inspect.signature(function).parameters.values())[1:]

    def run(context: typer.Context, **given: Any) -> None:
        before: dict[str, Any] = context.find_root().obj or {}
        after = {option: given.pop(option) for option in GLOBAL_OPTIONS}
        merged: dict[str, Any] = {option: after[option] or before.get(option) for option in GLOBAL_OPTIONS}
        call = Call(**merged)
        _run(call, function, given)

    _describe(run, function, [_context_parameter(), *own, *_global_parameters()])
    return run


def _run(call: Call, function: Body, arguments: dict[str, Any]) -> None:
    with told(call.debug):
        # Quiet until a command that lives longer says otherwise: its lines are for stderr's reader.
        logs.configure(level="debug" if call.debug else "warning")
        status: Any = function(call, **arguments)
        if inspect.iscoroutine(status):
            status = asyncio.run(status)
    if status:
        raise typer.Exit(int(status))


def _describe(run: Callable[..., None], function: Body, parameters: list[inspect.Parameter]) -> None:
    """Tell typer, which reads signatures, what `run` takes."""
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    run.__doc__ = function.__doc__
    run.__name__ = function.__name__


def _context_parameter() -> inspect.Parameter:
    return inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _global_parameters() -> list[inspect.Parameter]:
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in GLOBAL_OPTIONS.items()
    ]
