"""A daemon that is told to leave leaves nothing for others to do."""

from daemons import Books, Daemons, Recorder


async def test_a_daemon_that_leaves_takes_its_published_rows_and_its_directory_with_it(
    daemons: Daemons, books: Books, recorder: Recorder
) -> None:
    running = await daemons.start()
    ids = await books.submit_many([{"job_class": "InWorkspace"} for _ in range(20)])
    await recorder.has(ids[-1], "TO_BE_RUN", "RUNNING", "SUCCEEDED")
    directory = daemons.settings().workspace.directory / str(running.id)
    was_there = directory.is_dir()

    await running.leave()

    assert was_there
    assert not directory.exists()
    assert await books.value("SELECT count(*) FROM jobservice.outbox") == 0
