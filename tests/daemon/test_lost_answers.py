"""PostgreSQL has committed and the daemon does not know: every event still comes, each in its place, and once."""

import asyncio

import pytest
from daemons import Books, Daemons, Recorder
from outages import Outage


async def test_a_claim_whose_answer_was_lost_is_handed_back_and_told_before_its_hand_back(
    daemons: Daemons, database: Outage, books: Books, recorder: Recorder
) -> None:
    await daemons.start()
    database.lose_answer("claim", b"NoOp")

    job_id = await books.submit("NoOp")

    await recorder.has(job_id, "TO_BE_RUN", "QUEUED", "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    job = await books.job(job_id)
    assert (job["run"], job["attempt"], job["lost_runs"]) == (2, 1, 0)
    await recorder.complete(books)
    await books.all_published()


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED"])
async def test_a_flush_whose_answer_was_lost_is_told_once_and_before_what_follows(
    daemons: Daemons, database: Outage, books: Books, recorder: Recorder, status: str
) -> None:
    await daemons.start()
    database.lose_answer("writer", status.encode())
    file = daemons.directory / "go"
    job_id = await books.submit("Waits", {"file": file})

    await books.is_in(job_id, "RUNNING")
    file.touch()

    await asyncio.wait_for(database.answer_lost.wait(), 30)
    await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    assert (await books.job(job_id))["run"] == 1
    await recorder.complete(books)
    await books.all_published()


async def test_an_end_that_met_a_locked_row_and_a_lost_answer_is_written_once_the_row_is_free(
    daemons: Daemons, database: Outage, books: Books, recorder: Recorder
) -> None:
    await daemons.start()
    file = daemons.directory / "go"
    job_id = await books.submit("Waits", {"file": file})
    await books.is_in(job_id, "RUNNING")

    async with books.connection.transaction():
        await books.value("SELECT id FROM jobservice.job_info WHERE id = $1 FOR UPDATE", job_id)
        database.lose_answer("writer", b"RUNNING")  # of the look at what the flush did not change
        file.touch()
        await asyncio.wait_for(database.answer_lost.wait(), 30)

    await books.is_in(job_id, "SUCCEEDED")
    await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "SUCCEEDED")
