"""`submit`: one job from the command line."""

from typing import Annotated

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.connecting import jobs_of
from jobservice.cli.exits import tell
from jobservice.cli.values import duration, json_object, moment, named_values, priority
from jobservice.cli.wait import WaitTimeout, wait_and_tell
from jobservice.domain.names import DEFAULT_TENANT
from jobservice.domain.states import JobStatus
from jobservice.sdk.job_info import JobInfo

Pairs = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "submit")(submit)


async def submit(
    call: Call,
    *,
    job_class: Annotated[str, typer.Argument(help="Registered name of the job class.")],
    parameter: Annotated[
        Pairs, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="JSON if it parses, else text; repeatable.")
    ] = None,
    parameters: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="JSON object of parameters; -p wins over it.")
    ] = None,
    tenant: Annotated[str, typer.Option()] = DEFAULT_TENANT,
    queue: Annotated[str | None, typer.Option()] = None,
    priority_text: Annotated[
        str, typer.Option("--priority", metavar="N", help="A number, or VERY_LOW LOW MEDIUM HIGH VERY_HIGH.")
    ] = "0",
    owner: Annotated[str | None, typer.Option()] = None,
    description: Annotated[str | None, typer.Option()] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Hold it until `enqueue`.")] = False,
    locked: Annotated[bool, typer.Option("--locked", help="Never clean it up.")] = False,
    trigger_after: Annotated[
        str | None, typer.Option(metavar="DATE|15m", help="Start not before this date, or this time from now.")
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="DATE|15m", help="Do not start after this.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="SECONDS|15m", help="Do not run longer than this.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1)] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key twice makes one job.")] = None,
    concurrency_key: Annotated[str | None, typer.Option(help="Jobs of one key run one at a time.")] = None,
    correlation_id: Annotated[str | None, typer.Option(help="Goes along into logs and events.")] = None,
    metadata: Annotated[Pairs, typer.Option(metavar="NAME=VALUE", help="Kept with the job; repeatable.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it ends: 0 SUCCEEDED, 1 FAILED, 3 ABORTED.")] = False,
    wait_timeout: WaitTimeout = None,
) -> int | None:
    """Submit a job and print its id."""
    job = JobInfo(
        job_class,
        tenant=tenant,
        queue=queue,
        parameters={
            **(json_object(parameters) if parameters is not None else {}),
            **named_values(parameter or (), "-p"),
        },
        priority=priority(priority_text),
        owner=owner,
        description=description,
        status=JobStatus.PENDING if pending else JobStatus.QUEUED,
        locked=locked,
        trigger_after_date=moment(trigger_after, "--trigger-after") if trigger_after is not None else None,
        expiration_date=moment(expires, "--expires") if expires is not None else None,
        timeout=duration(timeout, "--timeout") if timeout is not None else None,
        max_attempts=max_attempts,
        idempotency_key=idempotency_key,
        concurrency_key=concurrency_key,
        correlation_id=correlation_id,
        user_metadata=named_values(metadata or (), "--metadata"),
    )
    seconds = duration(wait_timeout, "--wait-timeout") if wait_timeout is not None else None
    async with jobs_of(call) as jobs:
        (submitted,) = await jobs.create_many([job])
        assert submitted.job_id is not None
        if not wait:
            _print_id(call, submitted)
            return None
        if not call.json:
            _print_id(call, submitted)
        else:
            tell(f"submitted {submitted.job_id}")
        return await wait_and_tell(call, jobs, submitted.job_id, seconds, print_status=False)


def _print_id(call: Call, job: JobInfo) -> None:
    if call.json:
        call.output.document({"job_id": job.job_id, "status": job.status})
    else:
        call.output.text(str(job.job_id))
