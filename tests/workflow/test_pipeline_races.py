"""Two or more at the same pipeline at the same time, 150 times each: what was wrong elsewhere never is here."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from crew import Crew
from pipe_books import add_jobs, add_stages, check_books, command, jobs, pipeline, stages, standing, submit

TRIES = 150


@pytest.fixture
async def hands(connect: Any) -> list[asyncpg.Connection]:
    return [await connect() for _ in range(8)]


async def test_of_three_starts_at_once_one_wins(hands: list[asyncpg.Connection]) -> None:
    for _ in range(TRIES):
        p = await submit(hands[0], 1, status="PENDING")

        answers = await asyncio.gather(*(command(each, "start", p) for each in hands[:3]))

        assert sorted(answer["accepted"] for answer in answers) == [False, False, True]
        assert {answer["status"] for answer in answers} == {"QUEUED"}
    await check_books(hands[0])


async def test_a_pause_is_not_undone_by_the_end_of_the_last_job(crew: Crew, hands: list[asyncpg.Connection]) -> None:
    for _ in range(TRIES):
        p = await submit(hands[0], 1, 1)
        runs = await crew.claim()

        answer, _ = await asyncio.gather(command(hands[0], "pause", p), crew.end(runs))
        await crew.written()

        assert answer["accepted"]
        row = await pipeline(hands[0], p)
        assert row["paused"]
        first, second = await stages(hands[0], p)
        assert (first["status"], first["succeeded"]) == ("SUCCEEDED", 1)
        assert second["status"] in ("PENDING", "QUEUED"), "it opened before the pause, or not at all"
        await command(hands[0], "stop", p)
    await check_books(hands[0])


async def test_a_stop_is_never_written_over_a_success_nor_a_success_over_a_stop(
    crew: Crew, hands: list[asyncpg.Connection]
) -> None:
    ends: set[tuple[str, bool]] = set()
    for _ in range(TRIES):
        p = await submit(hands[0], 1)
        await crew.start(runs := await crew.claim())

        answer, _ = await asyncio.gather(command(hands[0], "stop", p), crew.end(runs))
        await crew.written()

        status, of_stages = await standing(hands[0], p)
        ends.add((status, answer["accepted"]))
        assert (status, of_stages) == ("SUCCEEDED", ["SUCCEEDED"]), "its job has succeeded, whoever came first"
    assert ends <= {("SUCCEEDED", True), ("SUCCEEDED", False)}
    await check_books(hands[0])


async def test_jobs_come_into_a_stage_or_are_refused_and_never_slip_into_one_that_is_complete(
    crew: Crew, hands: list[asyncpg.Connection]
) -> None:
    came = 0
    for _ in range(TRIES):
        p = await submit(hands[0], 1, 1)
        first, _ = await stages(hands[0], p)
        runs = await crew.claim()

        async def add(stage_id: UUID = first["id"]) -> int:
            try:
                return len(await add_jobs(hands[0], stage_id, jobs(2)))
            except asyncpg.InvalidParameterValueError as refused:
                assert "it has SUCCEEDED" in str(refused)
                return 0

        added, _ = await asyncio.gather(add(), crew.end(runs))
        await crew.written()

        first, second = await stages(hands[0], p)
        assert first["total"] == 1 + added
        assert (first["status"], second["status"]) == (("RUNNING", "PENDING") if added else ("SUCCEEDED", "QUEUED"))
        came += added > 0
        await crew.work_all()
        assert await standing(hands[0], p) == ("SUCCEEDED", ["SUCCEEDED"] * 2)
    await check_books(hands[0])


async def test_stages_that_eight_add_at_once_have_the_positions_one_to_eight(hands: list[asyncpg.Connection]) -> None:
    for _ in range(TRIES // 8 + 1):
        p = await submit(hands[0], open=True)

        await asyncio.gather(*(add_stages(each, p, [{"jobs": jobs(1)}]) for each in hands))

        assert [stage["position"] for stage in await stages(hands[0], p)] == list(range(1, 9))
    await check_books(hands[0])


async def test_of_a_restart_and_a_delete_at_once_one_wins_and_nothing_is_left_over(
    hands: list[asyncpg.Connection],
) -> None:
    winners: list[str] = []
    for _ in range(TRIES):
        p = await submit(hands[0], 2)
        await command(hands[0], "stop", p)
        await hands[0].execute("DELETE FROM jobservice.outbox")

        restart, delete = await asyncio.gather(command(hands[0], "restart", p), command(hands[1], "delete", p))

        left = await hands[0].fetchval("SELECT count(*) FROM jobservice.job_info WHERE pipeline_id = $1", p)
        if delete["accepted"]:
            assert (restart["accepted"], restart["code"], left) == (False, "unknown_pipeline", 0)
        else:
            assert (restart["accepted"], delete["code"], left) == (True, "not_legal", 2)
            assert await standing(hands[0], p) == ("QUEUED", ["QUEUED"])
        winners.append("delete" if delete["accepted"] else "restart")
    await check_books(hands[0])


async def test_of_two_that_end_the_two_last_jobs_of_a_stage_one_opens_the_next(
    crews: Any, hands: list[asyncpg.Connection]
) -> None:
    one, other = await crews(), await crews()
    for _ in range(TRIES):
        p = await submit(hands[0], 2, 3)
        mine, yours = await one.claim(1), await other.claim(1)

        await asyncio.gather(one.end(mine), other.end(yours))
        await asyncio.gather(one.written(), other.written())

        first, second = await stages(hands[0], p)
        assert (first["status"], first["succeeded"]) == ("SUCCEEDED", 2)
        assert (second["status"], second["sequence"]) == ("QUEUED", 2), "opened once"
        sequences = await hands[0].fetch("SELECT sequence FROM jobservice.job_info WHERE stage_id = $1", second["id"])
        assert [row["sequence"] for row in sequences] == [2, 2, 2], "queued once"
        await one.work_all()
        assert await standing(hands[0], p) == ("SUCCEEDED", ["SUCCEEDED"] * 2)
    await check_books(hands[0])


async def test_a_pipeline_submitted_by_three_at_once_under_one_key_is_one(hands: list[asyncpg.Connection]) -> None:
    for n in range(TRIES):
        made = await asyncio.gather(*(submit(each, 2, idempotency_key=f"key-{n}") for each in hands[:3]))

        assert len(set(made)) == 1
    assert await hands[0].fetchval("SELECT count(*) FROM jobservice.job_info") == 2 * TRIES
