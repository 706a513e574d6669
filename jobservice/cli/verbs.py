"""`enqueue`, `restart`, `rerun`, `lock`, `unlock`, `update`: one verb each, applied to each id that is given."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import BadUsage, exit_of, tell, worst
from jobservice.cli.values import moment, priority
from jobservice.client.service import JobInfoService
from jobservice.domain.errors import JobServiceError

JobIds = Annotated[list[UUID], typer.Argument(metavar="JOB_ID...", help="Job ids; each is tried.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for verb in (enqueue, restart, rerun, lock, unlock, update):
        command(app, verb.__name__)(verb)


async def enqueue(call: Call, job_ids: JobIds) -> int:
    """Release PENDING jobs: they become QUEUED."""
    async with jobs_of(call) as jobs:
        return await apply_to_each(call, job_ids, jobs.enqueue)


async def restart(
    call: Call,
    job_ids: Annotated[list[UUID], typer.Argument(metavar="ID...", help="Job ids, or instance ids; each is tried.")],
    *,
    instance: Annotated[bool, typer.Option("--instance", help="The ids are of instances of jobs with steps.")] = False,
    expires: Annotated[str | None, typer.Option(metavar="DATE|15m", help="A new expiration date.")] = None,
) -> int:
    """Queue FAILED or ABORTED jobs once more: the same jobs, their checkpoints kept."""
    date = moment(expires, "--expires") if expires is not None else None
    async with jobs_of(call) as jobs:
        restarted = jobs.instances.restart if instance else jobs.restart
        return await apply_to_each(call, job_ids, lambda one: restarted(one, expiration_date=date))


async def rerun(call: Call, job_ids: JobIds) -> int:
    """Submit new jobs made from ended ones, and print their ids."""
    async with jobs_of(call) as jobs:
        return await apply_to_each(call, job_ids, jobs.rerun, new_job=True)


async def lock(call: Call, job_ids: JobIds) -> int:
    """Lock jobs: retention never removes them."""
    async with jobs_of(call) as jobs:
        return await apply_to_each(call, job_ids, jobs.lock)


async def unlock(call: Call, job_ids: JobIds) -> int:
    """Unlock jobs."""
    async with jobs_of(call) as jobs:
        return await apply_to_each(call, job_ids, jobs.unlock)


async def update(
    call: Call,
    job_ids: JobIds,
    priority_text: Annotated[str | None, typer.Option("--priority", metavar="N", help="A new priority.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="DATE|15m", help="A new expiration date.")] = None,
) -> int:
    """Change a waiting job's priority or expiration date."""
    if priority_text is None and expires is None:
        raise BadUsage("update needs --priority or --expires")
    number = priority(priority_text) if priority_text is not None else None
    date = moment(expires, "--expires") if expires is not None else None
    async with jobs_of(call) as jobs:
        return await apply_to_each(call, job_ids, lambda job_id: _update(jobs, job_id, number, date))


async def _update(jobs: JobInfoService, job_id: UUID, number: int | None, date: datetime | None) -> Any:
    # The second change first: whether it is legal is the same question, and its answer says the status.
    changed: Any = await jobs.update_expiration(date, job_id) if date is not None else None
    return await jobs.set_priority(job_id, number) if number is not None else changed


async def apply_to_each(
    call: Call, job_ids: Iterable[UUID], verb: Callable[[UUID], Awaitable[Any]], *, new_job: bool = False
) -> int:
    """Apply `verb` to each id, say what became of each, and give the worst exit status."""
    results: list[dict[str, Any]] = []
    codes: list[int] = []
    for job_id in job_ids:
        try:
            answer = await verb(job_id)
        except JobServiceError as error:
            tell(f"jobservice: {error}")
            codes.append(exit_of(error))
            results.append({"job_id": job_id, "accepted": False, "code": error.code})
        else:
            results.append(_accepted(job_id, answer, new_job))
    _print(call, results, new_job)
    return worst(codes)


def _accepted(job_id: UUID, answer: Any, new_job: bool) -> dict[str, Any]:
    if new_job:
        return {"job_id": answer.job_id, "rerun_of": job_id, "status": answer.status, "accepted": True, "code": None}
    (result,) = answer
    return {"job_id": job_id, "status": result.status, "accepted": True, "code": None}


def _print(call: Call, results: list[dict[str, Any]], new_job: bool) -> None:
    if call.json:
        call.output.document(results)
        return
    for result in results:
        if result["accepted"]:
            call.output.text(str(result["job_id"]) if new_job else f"{result['job_id']}\t{result['status']}")
