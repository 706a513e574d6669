"""The gate: doors are shut while the database or its schema is unfit, and open again by themselves."""

import asyncpg
import pytest
from doors import DatabaseProxy

from jobservice.store.session import Session
from jobservice.submission.gate import Gate


class Consumer:
    """Remembers whether it is paused."""

    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


@pytest.fixture
def consumers() -> list[Consumer]:
    return [Consumer(), Consumer()]


@pytest.fixture
def gate(session: Session, consumers: list[Consumer]) -> Gate:
    return Gate(session=session, schema="jobservice", consumers=consumers)


async def test_the_doors_are_shut_until_a_first_look_finds_all_well(gate: Gate, consumers: list[Consumer]) -> None:
    assert all(consumer.paused for consumer in consumers)

    delay = await gate.run_once()

    assert (delay, gate.open, [consumer.paused for consumer in consumers]) == (None, True, [False, False])


async def test_they_are_shut_while_the_database_is_away(
    gate: Gate, consumers: list[Consumer], proxy: DatabaseProxy
) -> None:
    await gate.run_once()

    await proxy.away()
    delay = await gate.run_once()
    shut = all(consumer.paused for consumer in consumers)
    await proxy.open()
    await gate.run_once()

    assert (delay, shut, gate.open, consumers[0].paused) == (1.0, True, True, False)


async def test_they_are_shut_while_the_schema_is_missing_or_newer(
    gate: Gate, consumers: list[Consumer], connection: asyncpg.Connection
) -> None:
    await gate.run_once()

    await connection.execute("INSERT INTO jobservice.schema_version VALUES (1000)")
    await gate.run_once()
    newer = consumers[0].paused
    await connection.execute("DELETE FROM jobservice.schema_version WHERE version = 1000")
    await gate.run_once()
    fits = consumers[0].paused
    await connection.execute("DROP SCHEMA jobservice CASCADE")
    await gate.run_once()

    assert (newer, fits, consumers[0].paused) == (True, False, True)
