"""The Python client with a broker only: submissions and commands by messages, ends by events."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from jobservice import JobInfo, JobInfoService, JobStatus
from jobservice.domain.errors import (
    BrokerUnavailable,
    ConfigurationError,
    InvalidSubmission,
    NotLegal,
    UnavailableError,
    UnknownJob,
)

Tell = Callable[..., Awaitable[UUID]]
Answer = Callable[[str, Any], dict[str, Any]]
Answering = Callable[[Answer], Awaitable[None]]


def created(routing_key: str, body: Any) -> dict[str, Any]:
    return {"job_ids": [str(uuid4()) for _ in body]}


async def test_a_submission_goes_out_under_its_tenant_and_comes_back_with_its_id(
    amqp_jobs: JobInfoService, answering: Answering
) -> None:
    asked: list[tuple[str, Any]] = []
    job_id = uuid4()

    def answer(key: str, body: Any) -> dict[str, Any]:
        asked.append((key, body))
        return {"job_ids": [str(job_id)]}

    await answering(answer)

    job = await amqp_jobs.create_as_pending(JobInfo("Nap", tenant="acme", parameters={"seconds": 1}))

    assert (job.job_id, job.status) == (job_id, JobStatus.PENDING)
    assert asked == [
        ("acme", [{"job_class": "Nap", "tenant": "acme", "parameters": {"seconds": 1}, "status": "PENDING"}])
    ]


async def test_a_refusal_names_code_field_and_member(amqp_jobs: JobInfoService, answering: Answering) -> None:
    error = {"code": "unknown_tenant", "message": "nobody", "details": {"field": "tenant", "index": 1}}
    await answering(lambda key, body: {"error": error})

    with pytest.raises(InvalidSubmission) as caught:
        await amqp_jobs.create_many([JobInfo("Nap"), JobInfo("Nap")])

    assert (caught.value.code, caught.value.field, caught.value.index) == ("unknown_tenant", "tenant", 1)


async def test_jobs_of_two_tenants_are_not_one_message(amqp_jobs: JobInfoService) -> None:
    with pytest.raises(InvalidSubmission, match="one tenant"):
        await amqp_jobs.create_many([JobInfo("Nap", tenant="a"), JobInfo("Nap", tenant="b")])


async def test_the_end_is_seen_even_where_it_is_published_before_the_answer(
    amqp_jobs: JobInfoService, answering: Answering, tell: Tell
) -> None:
    job_id = uuid4()
    published: list[asyncio.Task[Any]] = []

    def answer(key: str, body: Any) -> dict[str, Any]:
        published.append(asyncio.ensure_future(tell(JobStatus.FAILED, job_id=job_id, sequence=4)))
        return {"job_ids": [str(job_id)]}

    await answering(answer)

    job = await amqp_jobs.create_as_queued(JobInfo("Nap", tenant="acme"))
    final = await amqp_jobs.wait(job.job_id, timeout=20)

    assert (final.status, final.error_type, final.error_message) == (JobStatus.FAILED, "ValueError", "no")
    await published[0]


async def test_waiting_ends_after_its_timeout(amqp_jobs: JobInfoService, answering: Answering) -> None:
    await answering(created)
    job = await amqp_jobs.create_as_queued(JobInfo("Nap"))

    with pytest.raises(TimeoutError, match="not ended"):
        await amqp_jobs.wait(job.job_id, timeout=0.05)


async def test_a_connection_lost_while_waiting_is_told_since_the_end_may_have_passed(
    amqp_jobs: JobInfoService, answering: Answering
) -> None:
    await answering(created)
    job = await amqp_jobs.create_as_queued(JobInfo("Nap"))
    waiting = asyncio.create_task(amqp_jobs.wait(job.job_id))
    await asyncio.sleep(0)

    assert amqp_jobs._ways.broker is not None
    link = await amqp_jobs._ways.broker.consuming()
    link.renew(link.connection, why="test")

    with pytest.raises(BrokerUnavailable, match="may have passed"):
        async with asyncio.timeout(30):
            await waiting


async def test_after_a_lost_connection_the_next_question_is_answered(
    amqp_jobs: JobInfoService, answering: Answering
) -> None:
    await answering(created)
    await amqp_jobs.create_as_queued(JobInfo("Nap"))
    assert amqp_jobs._ways.broker is not None
    for link in amqp_jobs._ways.broker._links.values():
        link.renew(link.connection, why="test")
        async with asyncio.timeout(20):
            await link.lost.wait()

    job = await amqp_jobs.create_as_queued(JobInfo("Nap"))

    assert job.job_id is not None


async def test_a_job_that_another_client_submitted_cannot_be_awaited_by_messages(amqp_jobs: JobInfoService) -> None:
    with pytest.raises(InvalidSubmission, match="database_url"):
        await amqp_jobs.wait(uuid4())


async def test_a_command_goes_out_with_all_ids_and_tells_of_each(
    amqp_jobs: JobInfoService, answering: Answering
) -> None:
    asked: list[tuple[str, Any]] = []

    def answer(key: str, body: Any) -> dict[str, Any]:
        asked.append((key, body))
        results = [
            {"job_id": job_id, "status": "ABORTED", "accepted": True, "code": None} for job_id in body["job_ids"]
        ]
        return {"results": results[::-1]}

    await answering(answer)
    ids = [uuid4(), uuid4()]

    results = await amqp_jobs.stop(*ids, reason="enough")

    assert [result.job_id for result in results] == ids
    assert asked == [("_operator", {"command": "stop", "job_ids": [str(each) for each in ids], "reason": "enough"})]


async def test_a_selection_is_stopped_by_one_message(amqp_jobs: JobInfoService, answering: Answering) -> None:
    asked: list[Any] = []
    stopped, refused = str(uuid4()), str(uuid4())

    def answer(key: str, body: Any) -> dict[str, Any]:
        asked.append(body)
        return {
            "results": [
                {"job_id": stopped, "status": "ABORTED", "accepted": True, "code": None},
                {"job_id": refused, "status": "SUCCEEDED", "accepted": False, "code": "not_legal"},
            ]
        }

    await answering(answer)

    results = await amqp_jobs.stop_selected(tenant="acme", owner="me", status=[JobStatus.QUEUED, JobStatus.FAILED])

    assert [str(result.job_id) for result in results] == [stopped]
    assert asked == [{"command": "stop", "tenant": "acme", "owner": "me", "status": ["QUEUED"]}]


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"status": None, "accepted": False, "code": "unknown_job"}, UnknownJob),
        ({"status": "RUNNING", "accepted": False, "code": "not_legal"}, NotLegal),
    ],
)
async def test_a_command_that_is_refused_raises_as_it_does_with_a_database(
    amqp_jobs: JobInfoService, answering: Answering, told: dict[str, Any], error: type[Exception]
) -> None:
    await answering(lambda key, body: {"results": [{"job_id": body["job_ids"][0], **told}]})

    with pytest.raises(error):
        await amqp_jobs.enqueue(uuid4())


async def test_a_client_of_one_tenant_signs_its_commands_with_it(
    daemon_link: Any, amqp_url: str, broker_prefix: str, answering: Answering
) -> None:
    keys: list[str] = []

    def answer(key: str, body: Any) -> dict[str, Any]:
        keys.append(key)
        return {"results": []}

    await answering(answer)

    async with JobInfoService.connect(amqp_url=amqp_url, prefix=broker_prefix, tenant="acme") as jobs:
        await jobs.pause_tenant("acme")

    assert keys == ["acme"]


async def test_what_only_the_database_knows_raises_naming_the_missing_url(amqp_jobs: JobInfoService) -> None:
    job_id = uuid4()
    for question in (
        amqp_jobs.get(job_id), amqp_jobs.find(), amqp_jobs.count(), amqp_jobs.lock(job_id), amqp_jobs.unlock(job_id),
        amqp_jobs.runs(job_id),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match="database_url"):
            await question


async def test_without_any_daemon_the_answer_does_not_come_and_the_message_stays(
    amqp_jobs: JobInfoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobservice.client.requests.ANSWER_TIMEOUT", 0.1)

    with pytest.raises(UnavailableError, match="kept"):
        await amqp_jobs.create_as_queued(JobInfo("Nap"))


async def test_the_end_of_a_job_whose_queue_publishes_nothing_is_not_waited_for(
    amqp_jobs: JobInfoService, answering: Answering
) -> None:
    await answering(lambda key, body: created(key, body) | {"unpublished_queues": ["default", "images"]})
    for queue in (None, "images"):
        silent = await amqp_jobs.create_as_queued(JobInfo("Nap", tenant="acme", queue=queue))
        with pytest.raises(InvalidSubmission, match="publishes no events"):
            await amqp_jobs.wait(silent.job_id)

    told = await amqp_jobs.create_as_queued(JobInfo("Nap", tenant="acme", queue="other"))

    with pytest.raises(TimeoutError):
        await amqp_jobs.wait(told.job_id, timeout=0.01)
