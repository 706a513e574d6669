"""`wait`: until a job has ended, and how it ended as the exit status."""

from typing import Annotated
from uuid import UUID

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import exit_of_status, tell
from jobservice.cli.output import fields_of
from jobservice.cli.values import duration
from jobservice.client.service import JobInfoService

WaitTimeout = Annotated[
    str | None, typer.Option("--wait-timeout", metavar="SECONDS|15m", help="Give up waiting then; exit status 124.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "wait")(wait)


async def wait(
    call: Call, job_id: Annotated[UUID, typer.Argument(help="Job id.")], wait_timeout: WaitTimeout = None
) -> int:
    """Wait until a job has ended: exit status 0 SUCCEEDED, 1 FAILED, 3 ABORTED, 124 timed out."""
    seconds = duration(wait_timeout, "--wait-timeout") if wait_timeout is not None else None
    async with jobs_of(call) as jobs:
        return await wait_and_tell(call, jobs, job_id, seconds, print_status=True)


async def wait_and_tell(
    call: Call, jobs: JobInfoService, job_id: UUID, seconds: float | None, *, print_status: bool
) -> int:
    """Wait for one job, print its end, and give the exit status that tells of it."""
    final = await jobs.wait(job_id, timeout=seconds)
    if call.json:
        call.output.document(fields_of(final))
    elif print_status:
        call.output.text(final.status)
    reason = final.error_message or final.stop_reason
    tell(f"{job_id} is {final.status}{f': {reason}' if reason else ''}")
    return int(exit_of_status(final.status))
