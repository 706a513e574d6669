"""Commits of steps whose answers are lost: the rows say whether they came through, and nothing is done twice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from step_scene import Run, Scene

from jobservice.domain.errors import JobAborted
from jobservice.sdk.steps import At, Chunk, Counts, RetryPolicy, Task
from jobservice.steps.book import Book
from jobservice.steps.checkpoints import RunLost


async def test_chunks_whose_commits_are_not_answered_are_neither_repeated_nor_left_out(scene: Scene) -> None:
    async def read(context: Any, after: Any) -> AsyncIterator[At]:
        for item in range((after or 0) + 1, 51):
            yield At(item, item)

    scene.cut_at = {1, 21, 41}
    state = await scene.begun("copy")

    await scene.run(state).chunks(Chunk("copy", read=read, write=scene.write, size=10), state)

    assert (await scene.written(), await scene.status()) == ("50 50", "SUCCEEDED")
    assert scene.cut_at == set()
    assert (state.counts.read, state.counts.written, state.counts.commits) == (50, 50, 5)


async def test_a_task_whose_commit_is_not_answered_is_done_once_and_its_step_is_complete(scene: Scene) -> None:
    async def work(context: Any) -> None:
        await scene.write(context, [7])

    scene.cut_at = {7}
    state = await scene.begun("once")

    await scene.run(state).task(Task("once", work, transaction=True), state)

    assert (await scene.written(), await scene.status()) == ("1 1", "SUCCEEDED")


async def test_a_task_that_lost_its_connection_before_its_commit_is_rolled_back_and_done_again(scene: Scene) -> None:
    tries = []

    async def work(context: Any) -> None:
        tries.append(1)
        await scene.write(context, [7])
        if len(tries) == 1:
            scene.line.cut()

    state = await scene.begun("once")

    await scene.run(state).task(Task("once", work, transaction=True), state)

    assert (len(tries), await scene.written(), await scene.status()) == (2, "1 1", "SUCCEEDED")


async def test_a_failure_that_is_told_late_does_not_undo_a_step_that_is_complete(scene: Scene) -> None:
    state = await scene.begun("once")
    await scene.book.end(scene.direct, scene.instance.id, state, "SUCCEEDED", did=Counts())

    await scene.book.end(scene.direct, scene.instance.id, state, "FAILED", did=Counts(), error=OSError("late"))

    assert await scene.status() == "SUCCEEDED"


async def test_a_lost_run_takes_no_step_from_the_one_that_goes_on(scene: Scene) -> None:
    lost = Book(schema="jobservice", job_id=scene.job, run=0, daemon_id=scene.daemon)
    state = await scene.begun("copy")

    with pytest.raises(RunLost):
        await lost.begin(scene.direct, scene.instance.id, "copy", epoch="epoch")

    checkpoints = scene.book.checkpoints(scene.instance.id, state)
    state.counts.commits = 1
    await checkpoints.write(scene.direct, position=10, state={}, counts=state.counts)


async def test_a_checkpoint_that_does_not_follow_the_last_commit_is_refused(scene: Scene) -> None:
    state = await scene.begun("copy")
    checkpoints = scene.book.checkpoints(scene.instance.id, state)
    state.counts.commits = 1
    await checkpoints.write(scene.direct, position=10, state={}, counts=state.counts)

    with pytest.raises(RunLost):
        await checkpoints.write(scene.direct, position=10, state={}, counts=state.counts)


async def test_a_task_whose_run_was_taken_from_its_daemon_is_not_tried_again_whatever_its_policy_says(
    scene: Scene,
) -> None:
    tries = []

    async def work(context: Any) -> None:
        tries.append(1)
        await scene.direct.execute("UPDATE jobservice.job_info SET run = run + 1 WHERE id = $1", scene.job)

    state = await scene.begun("once")

    with pytest.raises(RunLost):
        await scene.run(state).task(Task("once", work, retry=RetryPolicy(times=3, backoff=0)), state)

    assert len(tries) == 1


async def test_a_stop_between_two_tries_of_a_task_ends_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    async def work(context: Any) -> None:
        tries.append(1)
        monkeypatch.setattr(Run, "ending", "stopped")
        raise OSError("not today")

    state = await scene.begun("once")

    with pytest.raises(JobAborted):
        await scene.run(state).task(Task("once", work, retry=RetryPolicy(times=3, backoff=0)), state)

    assert len(tries) == 1
    assert await scene.direct.fetchval("SELECT status FROM jobservice.step_run") == "ABORTED"


@pytest.mark.parametrize("kind", ["task", "chunks"])
async def test_a_step_that_is_cancelled_is_told_as_aborted_and_can_be_gone_on_with(scene: Scene, kind: str) -> None:
    at_work = asyncio.Event()

    async def work(*_: Any) -> None:
        at_work.set()
        await asyncio.Event().wait()

    async def read(context: Any, after: Any) -> AsyncIterator[At]:
        yield At(1, 1)

    state = await scene.begun("step")
    run = scene.run(state)
    working = run.task(Task("step", work), state) if kind == "task" else run.chunks(
        Chunk("step", read=read, write=work), state
    )  # fmt: skip
    task = asyncio.create_task(working)
    await at_work.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await scene.direct.fetchval("SELECT status FROM jobservice.step_run") == "ABORTED"
    assert await scene.status() == "STARTED"
