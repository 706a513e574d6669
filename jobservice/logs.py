"""The set-up of logging: structlog to stderr, as JSON or for a console; libraries' logging goes the same way.

Called once by whoever owns the process (daemon, command line, a job's test); calling it again changes the level and
the format and adds nothing twice. No other module sets logging up: they ask structlog for a logger and log facts.
"""

import json
import logging
import sys
from typing import Literal

import orjson
import structlog
from structlog.types import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

_LIBRARIES = {"aiormq": "warning", "aio_pika": "warning", "asyncio": "warning", "aiohttp.access": "warning"}
"""Libraries that tell more than an operator can use; they keep quiet below this level, unless all is at debug."""


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Ours, so that a second set-up finds it, and another program's own handlers stay."""

    @property
    def stream(self) -> object:
        """Standard error as it is now: test runners and daemons exchange it."""
        return sys.stderr

    @stream.setter
    def stream(self, value: object) -> None:
        del value


class _Stderr:
    """Where our own lines go: one write each, to standard error as it is now."""

    __slots__ = ("name",)

    def __init__(self, name: str = "jobservice") -> None:
        self.name = name

    def write(self, line: str) -> None:
        sys.stderr.write(line + "\n")

    debug = info = warning = warn = error = critical = fatal = exception = msg = log = write


def configure(level: Level = "info", format: Format = "auto") -> None:  # noqa: A002 - the setting's name
    """Send every log line of this process, ours and libraries', to stderr in one format."""
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    structlog.configure(
        # Straight to stderr: by way of `logging` a line took 34 µs of a processor, so 11.
        processors=[*_bound(), *_rendering(as_json)],
        logger_factory=_Stderr,
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        # Cached loggers would keep an earlier set-up's level.
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(level, as_json)


def _bound() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _route_standard_logging(level: Level, as_json: bool) -> None:
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_bound(), structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(as_json)],
        )
    )
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _Handler)] + [handler]
    root.setLevel(_number(level))
    for name, least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else max(_number(level), _number(least)))


def _rendering(as_json: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json_text)]
    # A job's exception may hold its parameters: no local variables in the trace.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _json_text(event: EventDict, **options: object) -> str:
    """Values that JSON lacks become their text, not their repr with an address."""
    del options
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # an integer beyond 64 bits, a lone surrogate
        return json.dumps(event, default=str)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
