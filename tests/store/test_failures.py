"""Errors of the driver become ours at one edge."""

import asyncpg
import pytest
from factory import make_daemon

from jobservice.domain.errors import UnavailableError
from jobservice.lifecycle.claim import Claimer
from jobservice.store.session import Session


async def test_the_claim_of_a_daemon_that_was_marked_lost_is_refused_and_keeps_its_session(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    lost = await make_daemon(connection, ended="lost_at")
    await connection.close()
    session = Session(url=database_url, name="claim")
    claimer = Claimer(daemon_id=lost, schema="jobservice", submissions_published=False)

    with pytest.raises(UnavailableError, match="not alive"):
        async with session.use() as using:
            await claimer.claim(using, queue="default", slots=1, skipped_classes=(), charges={})

    assert session.connected
    assert session.losses == 0
    await session.close()
