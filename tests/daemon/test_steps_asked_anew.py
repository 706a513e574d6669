"""Connections that are cut while `count`, `when` or `plan` is asked: it is asked anew, as a chunk is begun anew."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from step_scene import Run, Scene

from jobservice.domain.errors import JobAborted
from jobservice.sdk.steps import At, Chunk, Range, Task
from jobservice.steps.connections import ConnectionGone
from jobservice.steps.step_run import StepRun

Ask = Callable[[StepRun, Any, Callable[..., Any]], Awaitable[object]]


async def read(context: Any, after: Any) -> AsyncIterator[At]:
    for item in range((after or context.partition.low or 0) + 1, 6):
        yield At(item, item)


async def write(context: Any, items: list[int]) -> None:
    await context.connection.executemany("INSERT INTO target VALUES ($1)", [(item,) for item in items])


async def by_count(run: StepRun, state: Any, asked: Callable[..., Any]) -> object:
    await run.chunks(Chunk("step", read=read, write=write, count=asked), state)
    return state.expected


async def by_when(run: StepRun, state: Any, asked: Callable[..., Any]) -> object:
    return await run.is_left_out(Task("step", print, when=asked), state)


async def by_plan_of_one(run: StepRun, state: Any, asked: Callable[..., Any]) -> object:
    await run.chunks(Chunk("step", read=read, write=write, plan=asked), state)
    return state.counts.read


async def by_plan(run: StepRun, state: Any, asked: Callable[..., Any]) -> object:
    return await run.ranges(asked, Chunk("step", read=read, write=write, partitions=4), state)


WAYS: dict[str, tuple[Ask, object, object]] = {
    "count": (by_count, 5, 5),
    "when": (by_when, True, False),
    "plan of one part": (by_plan_of_one, [Range(3, 5)], 2),
    "plan": (by_plan, [Range(0, 3), Range(3, 5)], [Range(0, 3), Range(3, 5)]),
}
each_way = pytest.mark.parametrize(("ask", "answer", "seen"), WAYS.values(), ids=WAYS)


@each_way
async def test_what_is_asked_when_the_line_is_cut_is_asked_anew_and_the_step_goes_on(
    scene: Scene, ask: Ask, answer: object, seen: object
) -> None:
    tries: list[Any] = []

    async def asked(context: Any, *_: Any) -> object:
        tries.append(context.state.get("noted"))
        context.state["noted"] = len(tries)
        if len(tries) < 3:
            scene.line.cut()
        await context.connection.execute("SELECT 1")
        return answer

    state = await scene.begun("step")

    assert await ask(scene.run(state), state, asked) == seen

    assert tries == [None, None, None], "what a try has noted is gone with it"
    assert await scene.direct.fetchval("SELECT count(*) FROM jobservice.step_run WHERE status = 'FAILED'") == 0


@each_way
async def test_a_stop_ends_what_is_asked_anew(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, ask: Ask, answer: object, seen: object
) -> None:
    tries = []

    async def asked(context: Any, *_: Any) -> object:
        tries.append(1)
        monkeypatch.setattr(Run, "ending", "stopped")
        scene.line.cut()
        await context.connection.execute("SELECT 1")
        return answer

    state = await scene.begun("step")

    with pytest.raises(JobAborted):
        await ask(scene.run(state), state, asked)

    assert len(tries) == 1
    assert await scene.direct.fetchval("SELECT status FROM jobservice.step_run") == "ABORTED"


@each_way
async def test_a_line_that_is_cut_each_time_fails_the_step_in_the_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, ask: Ask, answer: object, seen: object
) -> None:
    tries = []
    for module in ("asking", "connections"):
        monkeypatch.setattr(f"jobservice.steps.{module}.pause_before", lambda attempt: 0.0)

    async def asked(context: Any, *_: Any) -> object:
        tries.append(1)
        scene.line.cut()
        await context.connection.execute("SELECT 1")
        return answer

    state = await scene.begun("step")

    with pytest.raises(ConnectionGone):
        await ask(scene.run(state), state, asked)

    assert len(tries) == 9
    assert (await scene.status(), await scene.written()) == ("FAILED", "0 0")
