"""`list` and `show`: what jobs there are, and everything of one."""

from typing import Annotated, Any
from uuid import UUID

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.following import follow_job
from jobservice.cli.output import fields_of
from jobservice.cli.step_tree import StepTree
from jobservice.domain.states import WAITING, JobStatus
from jobservice.sdk.progress_info import STEPS

TenantOption = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")]
QueueOption = Annotated[str | None, typer.Option("--queue", help="Only of this queue.")]
ClassOption = Annotated[str | None, typer.Option("--class", metavar="NAME", help="Only of this job class.")]
OwnerOption = Annotated[str | None, typer.Option("--owner", help="Only of this owner.")]
StatusOption = Annotated[
    list[JobStatus] | None, typer.Option("--status", case_sensitive=False, help="Only in this status; repeatable.")
]

_COLUMNS = ("job_id", "status", "tenant", "queue", "job_class", "priority", "percent_completed", "created_date")

_STEP_COLUMNS = ("step", "status", "started", "ended", "elapsed_ms")
_RUN_COLUMNS = ("run", "attempt", "ending", "start_date", "end_date", "daemon_id", "error_message")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "list")(list_jobs)
    command(app, "show")(show)


async def list_jobs(
    call: Call,
    *,
    tenant: TenantOption = None,
    status: StatusOption = None,
    job_class: ClassOption = None,
    owner: OwnerOption = None,
    queue: QueueOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
) -> None:
    """List jobs, newest first."""
    async with jobs_of(call) as jobs:
        page = await jobs.find(tenant=tenant, status=status, job_class=job_class, owner=owner, queue=queue, limit=limit)
    call.output.rows([fields_of(job) for job in page.jobs], _COLUMNS)


async def show(
    call: Call,
    job_id: Annotated[UUID, typer.Argument(help="Job id.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on showing it until it has ended.")] = False,
    runs: Annotated[bool, typer.Option("--runs", help="Each run of each step, also where there was but one.")] = False,
) -> int | None:
    """Show everything of one job: dates, progress, result, error, runs, steps, and why it is not running."""
    async with jobs_of(call) as jobs:
        if follow:
            return await follow_job(call, jobs, job_id, every_run=runs)
        job = await jobs.get(job_id)
        facts: dict[str, Any] = {"job_id": job_id, "status": job.status, **fields_of(job)}
        earlier = [fields_of(run) for run in await jobs.runs(job_id)]
        instance = await jobs.instances.of(job_id)
        if job.status in WAITING:
            facts["why_not_running"] = await jobs.why_not_running(job_id)
    if call.json:
        call.output.record(facts | {"runs": earlier, "instance": None if instance is None else fields_of(instance)})
        return None
    info = dict(job.progress_info or {})
    named = [{"step": name, **step} for name, step in info.pop(STEPS, {}).items()]
    call.output.record(facts | {"progress_info": info})
    if named:
        call.output.text("")
        call.output.rows(sorted(named, key=lambda step: step["started"] or ""), _STEP_COLUMNS)
    if earlier:
        call.output.text("")
        call.output.rows(earlier, _RUN_COLUMNS)
    if instance is not None:
        call.output.text("")
        call.output.drawing(StepTree(instance, every_run=runs))
    return None
