"""What the viewer sees while the demo runs, on stderr: bars and the last events on a terminal, else lines.

Three ways behind one narrow interface; none knows what is shown next.
"""

import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from jobservice.broker.messages import JobEvent
from jobservice.demo.folding import folded
from jobservice.domain.states import JobStatus

_LAST_EVENTS = 10
_STEP_INDENT = 9
_EVENT_INDENT = 22
_STYLES = {
    JobStatus.TO_BE_RUN: "blue",
    JobStatus.RUNNING: "bright_blue",
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "red",
    JobStatus.ABORTED: "magenta",
}


class Display(AbstractContextManager["Display"], Protocol):
    """Steps and events as they come."""

    def expect(self, jobs_by_tenant: Mapping[str, int]) -> None:
        """How many jobs there will be."""

    def say(self, text: str) -> None:
        """A step of the demo."""

    def event(self, event: JobEvent) -> None:
        """A status change."""


def display_for(*, quiet: bool) -> Display:
    """Bars on a terminal, lines in a pipe, nothing when `quiet`."""
    if quiet:
        return Silence()
    console = Console(stderr=True, highlight=False)
    return Bars(console) if sys.stderr.isatty() and not console.is_dumb_terminal else Lines()


class Silence:
    """Shows nothing: the summary is for a program."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def expect(self, jobs_by_tenant: Mapping[str, int]) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def event(self, event: JobEvent) -> None:
        """Nothing."""


class Lines(Silence):
    """A line for each step and event, without any escape code."""

    def __init__(self) -> None:
        self._clock = _Clock()

    def say(self, text: str) -> None:
        """One line."""
        self._write(f"{self._clock.read()}  {text}")

    def event(self, event: JobEvent) -> None:
        """One line."""
        self._write(f"{self._clock.read()}    {_words(event)}".rstrip())

    def _write(self, line: str) -> None:
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stderr.flush()


class Bars(Silence):
    """A bar for each tenant with the last events below; steps, and ends that are no success, stay above."""

    def __init__(self, console: Console) -> None:
        self._clock = _Clock()
        self._progress = Progress(
            TextColumn("{task.description:9}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[now]}", style="dim"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._running: dict[str, int] = {}
        self._last: deque[Text] = deque(maxlen=_LAST_EVENTS)
        self._live = Live(get_renderable=self._picture, console=console, refresh_per_second=20)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The bars stay on the screen; the last events would only push the summary down.
        self._last.clear()
        self._live.stop()

    def expect(self, jobs_by_tenant: Mapping[str, int]) -> None:
        """A bar for each tenant."""
        for tenant, jobs in jobs_by_tenant.items():
            self._tasks[tenant] = self._progress.add_task(tenant, total=jobs, now="")
            self._running[tenant] = 0

    def say(self, text: str) -> None:
        """A line that stays."""
        self._print(f"{self._clock.read()}  {text}", _STEP_INDENT)

    def event(self, event: JobEvent) -> None:
        """Moves the bar, and joins the last events."""
        words, style = f"{self._clock.read()}    {_words(event)}".rstrip(), _STYLES.get(event.status, "")
        self._last.append(Text(words, style, no_wrap=True, overflow="ellipsis"))
        if event.status in (JobStatus.FAILED, JobStatus.ABORTED):
            self._print(words, _EVENT_INDENT, style)
        self._count(event)

    def _count(self, event: JobEvent) -> None:
        if event.tenant not in self._tasks:
            return
        step = {JobStatus.RUNNING: 1}.get(event.status, -1 if event.previous_status is JobStatus.RUNNING else 0)
        self._running[event.tenant] += step
        running = self._running[event.tenant]
        now = f"{running} running" if running > 0 else ""
        self._progress.update(self._tasks[event.tenant], advance=int(event.final), now=now)

    def _print(self, line: str, indent: int, style: str = "") -> None:
        console = self._live.console
        console.print(Text(folded(line, console.width, indent), style))

    def _picture(self) -> RenderableType:
        return Group(self._progress, *self._last) if self._tasks else Text("")


class _Clock:
    """Seconds since it was made, as they stand at the head of a line."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def read(self) -> str:
        """Seconds to the millisecond, seven wide."""
        return f"{time.monotonic() - self._start:7.3f}"


def _words(event: JobEvent) -> str:
    reason = f": {event.error['message']}" if event.error else ""
    text = f"{event.tenant:9}  {event.status:9}  {event.job_class:12}  {event.description or ''}{reason}"
    return " ".join(text.splitlines())
