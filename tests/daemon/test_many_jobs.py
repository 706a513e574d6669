"""Ten thousand short jobs of twenty tenants over two daemons: each runs once and is told complete, in order."""

from daemons import Books, Daemons, Recorder

JOBS = 10_000
TENANTS = 20


async def test_ten_thousand_jobs_of_twenty_tenants_succeed_once_each_and_are_told_in_order(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    first = await daemons.start(pool={"capacity": 100}, logs={"level": "warning"})
    second = await daemons.start(pool={"capacity": 100}, logs={"level": "warning"})

    for start in range(0, JOBS, 2_000):
        await books.submit_many(
            [{"job_class": "NoOp", "tenant": f"t{n % TENANTS}"} for n in range(start, start + 2_000)]
        )

    await books.all_final(seconds=100)
    await recorder.complete(books, seconds=100)
    await books.all_published()
    rows = await books.connection.fetch(
        "SELECT tenant, daemon_id, count(*) AS jobs FROM jobservice.job_info "
        "WHERE status = 'SUCCEEDED' AND run = 1 AND attempt = 1 AND sequence = 4 GROUP BY 1, 2"
    )
    assert sum(row["jobs"] for row in rows) == JOBS
    assert {row["tenant"] for row in rows} == {f"t{n}" for n in range(TENANTS)}
    assert {row["daemon_id"] for row in rows} == {first.id, second.id}
    assert not await books.value("SELECT count(*) FROM jobservice.job_run")
    told = recorder.by_job()
    assert len(told) == JOBS
    assert {tuple(event["status"] for event in events) for events in told.values()} == {
        ("TO_BE_RUN", "RUNNING", "SUCCEEDED")
    }
