"""`show --follow`: one thing drawn anew whenever it has changed, until it has ended."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from jobservice.cli.call import Call
from jobservice.cli.exits import exit_of_status
from jobservice.cli.output import coloured, fields_of, printable, screen
from jobservice.cli.pace import Pace
from jobservice.cli.step_tree import StepTree
from jobservice.client.instances import InstanceInfo
from jobservice.client.service import JobInfoService
from jobservice.sdk.job_info import JobInfo

SECONDS = 0.5
"""Between two looks."""


async def follow_job(call: Call, jobs: JobInfoService, job_id: UUID, *, every_run: bool) -> int:
    """Status, progress and steps of a job; the exit status tells how it ended."""

    async def look() -> tuple[JobInfo, InstanceInfo | None]:
        return await jobs.get(job_id), await jobs.instances.of(job_id)

    pace = Pace()
    job, _ = await follow(
        call,
        look,
        draw=lambda seen: _drawn(seen[0], seen[1], pace, every_run=every_run),
        plain=lambda seen: {**fields_of(seen[0]), "instance": None if seen[1] is None else fields_of(seen[1])},
        ended=lambda seen: seen[0].status.final,
    )
    return exit_of_status(job.status)


async def follow(
    call: Call,
    look: Callable[[], Awaitable[Any]],
    *,
    draw: Callable[[Any], RenderableType],
    plain: Callable[[Any], dict[str, Any]],
    ended: Callable[[Any], bool],
) -> Any:
    """What was seen last. On a terminal in one place; with --json a line for each change."""
    live = None if call.json else Live(console=screen(), auto_refresh=False)
    if live is not None:
        live.start()
    seen: Any = None
    try:
        while True:
            now = await look()
            if now != seen:
                seen = now
                if live is None:
                    call.output.line(plain(now))
                else:
                    live.update(draw(now), refresh=True)
            if ended(now):
                return now
            await asyncio.sleep(SECONDS)
    finally:
        if live is not None:
            live.stop()
            if seen is not None and not live.console.is_terminal:
                live.console.print()  # a pipe has the last state, and it has no line's end


def _drawn(job: JobInfo, instance: InstanceInfo | None, pace: Pace, *, every_run: bool) -> RenderableType:
    head = Text.assemble((printable(str(job.job_class)), "bold"), "  ", coloured(job.status))
    head.append(f"  {job.percent_completed} %  {job.job_id}  tenant {job.tenant}  run {job.run}")
    lines: list[RenderableType] = [head]
    if job.progress_message:
        lines.append(Text(f"  {printable(job.progress_message)}", style="dim"))
    if job.held == "parts":
        lines.append(Text("  waits for the parts of a step", style="dim"))
    if job.error_message:
        lines.append(Text(f"  {printable(job.error_message)}", style="red"))
    if instance is not None:
        if (told := pace.told(instance)) is not None:
            lines.append(Text(f"  {printable(told)}"))
        lines.append(StepTree(instance, every_run))
    return Group(*lines)
