"""What all kinds of `watch` have in common: each change is shown once, on a line of its own."""

import sys
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from rich.console import Console
from rich.text import Text

from jobservice.cli.call import Call
from jobservice.cli.output import coloured, fields_of, printable

_REMEMBERED = 100_000
"""Of so many jobs it knows what was shown: events are published at least once, and a viewer wants them once."""


class Change(Protocol):
    """What all events have."""

    @property
    def time(self) -> datetime: ...
    @property
    def status(self) -> StrEnum: ...
    @property
    def sequence(self) -> int: ...


class Shown:
    """The lines that one command has written."""

    def __init__(self, call: Call) -> None:
        self.count = 0
        self._call = call
        self._last: dict[UUID, int] = {}

    def show(self, event: Change, subject: UUID, words: Sequence[str]) -> bool:
        """Write a line, unless this change of `subject` was shown before; whether it was written."""
        if event.sequence <= self._last.get(subject, 0):
            return False
        self._last[subject] = event.sequence
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        self.count += 1
        self._print(event, [printable(word) for word in words])
        return True

    def _print(self, event: Change, words: Sequence[str]) -> None:
        if self._call.json:
            self._call.output.line(fields_of(event))
            return
        time = event.time.astimezone().strftime("%H:%M:%S.%f")[:-3]
        if not sys.stdout.isatty():
            self._call.output.text("\t".join([time, event.status, *words]).rstrip())
            return
        status = coloured(event.status).append(" " * (10 - len(event.status)))
        Console(soft_wrap=True).print(Text.assemble(time, " ", status, " ".join(words)))
