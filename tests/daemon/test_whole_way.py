"""One daemon on real servers: from the submission to the last event, and every way in which a job can fail."""

from pathlib import Path
from typing import Any

from daemons import Books, Daemons, Recorder


async def test_a_job_is_told_of_at_each_step_in_order_and_nothing_is_left_over(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()

    job_id = await books.submit("Echo", {"value": {"a": [1, None]}}, tenant="acme", priority=7, correlation_id="c-1")

    await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    last = recorder.of(job_id)[-1]
    assert last["result"] == {"a": [1, None]}
    assert last["key"] == "acme.default.Echo.SUCCEEDED"
    assert (last["correlation_id"], last["priority"], last["percent_completed"]) == ("c-1", 7, 100)
    await recorder.complete(books)
    await books.all_published()


FAILURES: list[tuple[str, dict[str, Any], str, str]] = [
    ("Nowhere", {}, "UnknownJobClass", "no daemon of queue default knows job class Nowhere"),
    ("Echo", {"valeu": 1}, "JobParameterInvalid", "valeu"),
    ("Blocks", {}, "JobParameterMissing", "seconds"),
    ("Blocks", {"seconds": "long"}, "JobParameterInvalid", "seconds"),
    ("Blocks", {"seconds": None}, "JobParameterInvalid", "seconds"),
    ("Unmade", {}, "ValueError", "not to be made"),
    ("Raises", {"text": "no luck"}, "ValueError", "no luck"),
    ("RaisesSurrogate", {}, "OSError", "no file"),
    ("Exits", {}, "SystemExit", "3"),
    ("ThreadExits", {}, "SystemExit", "3"),
    ("Interrupts", {}, "KeyboardInterrupt", "from a job"),
    ("RaisesBase", {}, "BeyondException", "beyond"),
    ("CancelsItself", {}, "Cancelled", "cancelled itself"),
    ("Unencodable", {}, "ResultNotEncodable", "object"),
    ("Nul", {}, "ResultNotEncodable", "NUL"),
    ("SubmitsNext", {"tenant": "refused"}, "ResultRefused", "refused"),
]
"""Job class, parameters, and what is in the error's type and text."""


async def test_a_failure_of_any_kind_ends_failed_with_its_text_and_hurts_no_other_job(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start(tenants={"closed": True})
    await books.connection.execute("INSERT INTO jobservice.tenant (tenant) VALUES ('default')")

    failing = [{"job_class": name, "parameters": parameters} for name, parameters, _, _ in FAILURES]
    ids = await books.submit_many([job for each in failing for job in (each, {"job_class": "NoOp"})])

    await books.all_final()
    await recorder.complete(books)
    for job_id, (job_class, _, error_type, text) in zip(ids[::2], FAILURES, strict=True):
        job = await books.job(job_id)
        assert (job["status"], error_type in job["error_type"], text in job["error_message"]) == (
            "FAILED", True, True,
        ), (job_class, job["error_type"], job["error_message"])  # fmt: skip
        begun = ["TO_BE_RUN", "RUNNING", "FAILED"] if job["start_date"] is not None else ["TO_BE_RUN", "FAILED"]
        assert recorder.statuses(job_id) == begun
        error = recorder.of(job_id)[-1]["error"]
        assert (error["type"], error["message"]) == (job["error_type"], job["error_message"])
    for job_id in ids[1::2]:
        assert (await books.job(job_id))["status"] == "SUCCEEDED"


async def test_no_job_is_told_running_whose_preparation_failed(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()

    ids = [await books.submit(name, parameters) for name, parameters, _, _ in FAILURES[:6]]

    for job_id in ids:
        await recorder.has(job_id, "TO_BE_RUN", "FAILED")
        assert (await books.job(job_id))["start_date"] is None


async def test_a_result_too_large_for_an_event_is_stored_whole_and_told_as_omitted(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()

    job_id = await books.submit("Echo", {"value": "x" * 200_000})

    await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    last = recorder.of(job_id)[-1]
    assert (last["result"], last["result_omitted"]) == (None, True)
    assert len((await books.job(job_id))["result"]) == 200_002


async def test_a_job_that_prints_or_blocks_the_loop_succeeds_and_the_others_with_it(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()

    ids = await books.submit_many(
        [
            {"job_class": "Blocks", "parameters": {"seconds": 2}},
            {"job_class": "Prints"},
            {"job_class": "NoOp"},
        ]
    )

    for job_id in ids:
        await books.is_in(job_id, "SUCCEEDED")
    await recorder.complete(books)


async def test_a_job_whose_expiration_date_passes_while_it_waits_ends_failed_without_a_claim(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    held = await books.submit("NoOp", status="PENDING", expiration_date="2999-01-01T00:00:00Z")
    await books.connection.execute(
        "UPDATE jobservice.job_info SET expiration_date = clock_timestamp() WHERE id = $1", held
    )

    await daemons.start()

    job = await books.is_in(held, "FAILED")
    assert job["error_message"] == "Expiration date reached"
    await recorder.has(held, "FAILED")


async def test_a_workspace_is_gone_with_its_job(daemons: Daemons, books: Books) -> None:
    await daemons.start()

    job_id = await books.submit("InWorkspace")

    job = await books.is_in(job_id, "SUCCEEDED")
    await daemons.running[0].leave()
    assert job["result"].strip('"').startswith(str(daemons.directory))
    assert not Path(job["result"].strip('"')).exists()


async def test_a_workspace_that_cannot_be_made_ends_the_job_failed_before_its_start(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    (daemons.directory / "workspaces").write_text("a file where a directory should be")
    await daemons.start()

    job_id = await books.submit("InWorkspace")

    await books.is_in(job_id, "FAILED")
    await recorder.has(job_id, "TO_BE_RUN", "FAILED")


async def test_submit_next_is_queued_once_with_the_success_and_never_without(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    await daemons.start()

    well, ill = await books.submit_many(
        [
            {"job_class": "SubmitsNext", "parameters": {"tenant": "after"}, "correlation_id": "c-2"},
            {"job_class": "SubmitsNext", "parameters": {"tenant": "never", "fails": True}},
        ]
    )

    await books.is_in(well, "SUCCEEDED")
    await books.is_in(ill, "FAILED")
    await books.all_final()
    following = await books.connection.fetch("SELECT * FROM jobservice.job_info WHERE tenant IN ('after', 'never')")
    assert [(job["tenant"], job["correlation_id"], job["status"]) for job in following] == [
        ("after", "c-2", "SUCCEEDED")
    ]
    await recorder.complete(books)


async def test_a_job_may_abort_itself(daemons: Daemons, books: Books, recorder: Recorder) -> None:
    await daemons.start()

    job_id = await books.submit("Aborts")

    job = await books.is_in(job_id, "ABORTED")
    assert job["stop_reason"] == "enough"
    await recorder.has(job_id, "TO_BE_RUN", "RUNNING", "ABORTED")


async def test_a_thread_job_runs_and_its_result_is_stored(daemons: Daemons, books: Books) -> None:
    await daemons.start()
    file = daemons.directory / "go"
    job_id = await books.submit("ThreadWaits", {"file": file})
    await books.is_in(job_id, "RUNNING")

    file.touch()

    job = await books.is_in(job_id, "SUCCEEDED")
    assert job["result"] == '"from a thread"'


async def test_a_job_of_another_queue_is_left_alone(daemons: Daemons, books: Books) -> None:
    await daemons.start(daemon={"queues": ("mine",)})

    theirs = await books.submit("NoOp", queue="theirs")
    mine = await books.submit("NoOp", queue="mine")

    await books.is_in(mine, "SUCCEEDED")
    assert (await books.job(theirs))["status"] == "QUEUED"
