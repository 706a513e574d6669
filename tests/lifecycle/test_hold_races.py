"""Holds and pauses that meet claims: each waits for the other where it must, and nothing is lost or left aside."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from databases import Connect
from factory import make_job, row_of
from holding import HOLDS, Hand
from races import begun

TRIES = 150
LETS_GO: dict[str, Callable[[Hand, UUID], Awaitable[Any]]] = {
    "release": lambda hand, _: hand.release(),
    "resume": lambda hand, pipeline: hand.command("resume", pipeline),
}


async def held_by(hand: Hand, verb: str) -> UUID:
    pipeline = await hand.pipeline(*[{"job_class": "Nap"}] * 5)
    await (hand.hold() if verb == "release" else hand.command("pause", pipeline))
    return pipeline


@pytest.mark.parametrize("verb", LETS_GO)
async def test_who_releases_waits_for_the_claim_under_way_and_leaves_nothing_behind(
    connection: asyncpg.Connection, connect: Connect, hand: Hand, verb: str
) -> None:
    pipeline = await held_by(hand, verb)
    other = await connect()
    releasing = Hand(other, UUID(int=9))
    claim = connection.transaction()
    await claim.start()
    await hand.claim()

    release = await begun(LETS_GO[verb](releasing, pipeline), other, await connect())
    await claim.commit()
    await release

    assert len(await hand.claim()) == 5


@pytest.mark.parametrize("verb", LETS_GO)
async def test_a_claim_does_not_wait_for_who_releases_and_puts_nothing_aside_then(
    connection: asyncpg.Connection, connect: Connect, hand: Hand, verb: str
) -> None:
    pipeline = await held_by(hand, verb)
    other = await connect()
    release = other.transaction()
    await release.start()
    await LETS_GO[verb](Hand(other, UUID(int=9)), pipeline)

    meanwhile = await asyncio.wait_for(hand.claim(), 30)
    aside = await hand.put_aside()
    await release.commit()

    assert (meanwhile, aside) == ([], set())
    assert len(await hand.claim()) == 5


@pytest.mark.parametrize("verb", LETS_GO)
async def test_nothing_is_lost_when_claims_and_releases_meet_at_random(
    connection: asyncpg.Connection, connect: Connect, hand: Hand, verb: str
) -> None:
    other = await connect()
    lost = 0
    for n in range(TRIES):
        pipeline = await held_by(hand, verb)
        releasing = Hand(other, UUID(int=9))

        async def later(steps: int, releasing: Hand = releasing, pipeline: UUID = pipeline) -> None:
            for _ in range(steps):
                await asyncio.sleep(0)
            await LETS_GO[verb](releasing, pipeline)

        claimed, _ = await asyncio.gather(hand.claim(), later(n % 10))
        claimed += await hand.claim()
        lost += len(claimed) != 5
        await connection.execute("DELETE FROM jobservice.job_info; DELETE FROM jobservice.outbox")

    assert lost == 0


async def test_a_pause_waits_for_the_claims_under_way(
    connection: asyncpg.Connection, connect: Connect, hand: Hand
) -> None:
    pipeline = await hand.pipeline(*[{"job_class": "Nap"}] * 5)
    other = await connect()
    claim = connection.transaction()
    await claim.start()
    claimed = await hand.claim()

    pause = await begun(Hand(other, UUID(int=9)).command("pause", pipeline), other, await connect())
    await claim.commit()
    await pause

    assert len(claimed) == 5
    paused = await connection.fetchval("SELECT updated_date FROM jobservice.pipeline WHERE paused")
    assert paused > (await row_of(connection, claimed[0]))["claim_date"]


async def test_a_hold_waits_for_the_claims_under_way(
    connection: asyncpg.Connection, connect: Connect, hand: Hand
) -> None:
    job = await make_job(connection)
    other = await connect()
    claim = connection.transaction()
    await claim.start()
    claimed = await hand.claim()

    hold = await begun(HOLDS.hold(other, "Nap"), other, await connect())
    await claim.commit()
    await hold

    assert claimed == [job]
    assert (await HOLDS.held(connection))[0].created_date > (await row_of(connection, job))["claim_date"]
