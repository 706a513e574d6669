"""Queues that publish ends only, or nothing: what a subscriber of a real daemon sees, and that who waits is told."""

from daemons import Books, Daemons, Recorder

from jobservice import JobInfo, JobInfoService


async def test_ends_alone_or_nothing_comes_of_a_queue_that_says_so_and_a_client_with_a_database_waits_all_the_same(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    queues = ("all", "final", "none")
    async with JobInfoService.connect(daemons.database_url) as jobs:
        for queue in queues:
            await jobs.operations.limit_queue(queue, events=queue)
        await daemons.start(daemon={"queues": queues})

        submitted = {queue: await jobs.create_many([JobInfo("NoOp", queue=queue)] * 20) for queue in queues}
        for each in submitted.values():
            for job in each:
                assert job.job_id is not None
                assert (await jobs.wait(job.job_id, timeout=60)).status == "SUCCEEDED"
        stopped = await jobs.create_as_pending(JobInfo("NoOp", queue="final"))
        assert stopped.job_id is not None
        await jobs.stop(stopped.job_id)

    await recorder.has(stopped.job_id, "ABORTED")
    for job in submitted["all"]:
        await recorder.has(job.job_id, "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    for job in submitted["final"]:
        await recorder.has(job.job_id, "SUCCEEDED")
    await books.all_published()
    assert {event["queue"] for event in recorder.events} == {"all", "final"}
    assert len(recorder.events) == 20 * 3 + 20 + 1
