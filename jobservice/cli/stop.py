"""`stop`: by id, or all that a selection finds, after a look at what that is."""

import sys
from typing import Annotated, Any
from uuid import UUID

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import BadUsage, tell
from jobservice.cli.jobs import ClassOption, OwnerOption, StatusOption, TenantOption
from jobservice.cli.verbs import apply_to_each
from jobservice.client.service import JobInfoService
from jobservice.domain.states import FINAL, JobStatus

_PREVIEW = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "stop")(stop)


async def stop(
    call: Call,
    *,
    job_ids: Annotated[list[UUID] | None, typer.Argument(metavar="[JOB_ID]...", help="Job ids; each is tried.")] = None,
    tenant: TenantOption = None,
    job_class: ClassOption = None,
    status: StatusOption = None,
    owner: OwnerOption = None,
    reason: Annotated[str | None, typer.Option(help="Kept with the job.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int | None:
    """Stop jobs: waiting ones end at once, running ones as soon as they can be interrupted."""
    selection = {"tenant": tenant, "job_class": job_class, "status": status, "owner": owner}
    chosen = {name: value for name, value in selection.items() if value}
    if bool(job_ids) == bool(chosen):
        raise BadUsage("stop needs job ids, or a selection by --tenant, --class, --status or --owner, not both")
    async with jobs_of(call) as jobs:
        if job_ids:
            return await apply_to_each(call, job_ids, lambda job_id: jobs.stop(job_id, reason=reason))
        await _stop_selected(call, jobs, chosen, reason, yes)
    return None


async def _stop_selected(
    call: Call, jobs: JobInfoService, chosen: dict[str, Any], reason: str | None, yes: bool
) -> None:
    chosen["status"] = chosen.get("status") or [status for status in JobStatus if status not in FINAL]
    if ended := [status.value for status in chosen["status"] if status in FINAL]:
        raise BadUsage(f"jobs that are {' or '.join(ended)} have ended: there is nothing to stop")
    await _preview(jobs, chosen)
    _ask(yes)
    results = await jobs.stop_selected(**chosen, reason=reason)
    tell(f"asked {len(results)} jobs to stop")
    call.output.rows(
        [
            {"job_id": each.job_id, "status": each.status, "accepted": each.accepted, "code": each.code}
            for each in results
        ],
        ("job_id", "status"),
    )


async def _preview(jobs: JobInfoService, chosen: dict[str, Any]) -> None:
    count = await jobs.count(**chosen)
    page = await jobs.find(**chosen, limit=_PREVIEW)
    tell(f"{count} jobs would be stopped{':' if count else ''}")
    for job in page.jobs:
        tell(f"  {job.job_id} {job.status} {job.tenant} {job.job_class}")
    if count > len(page.jobs):
        tell(f"  and {count - len(page.jobs)} more")


def _ask(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadUsage("nothing was stopped: add --yes, since there is nobody to ask")
    if not typer.confirm("Stop them?", err=True):
        raise BadUsage("nothing was stopped")
