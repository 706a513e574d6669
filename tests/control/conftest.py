"""The fixtures of all doors, and a control door that is open."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from databases import connect, connection, database_url, module_database_url
from doors import Consume, Foreign, consume, foreign, link, names, proxy, session

from jobservice.broker.names import BrokerNames
from jobservice.control.door import ControlDoor
from jobservice.store.session import Session

__all__ = [
    "connect",
    "connection",
    "consume",
    "database_url",
    "foreign",
    "link",
    "module_database_url",
    "names",
    "proxy",
    "session",
]

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def ask(session: Session, consume: Consume, names: BrokerNames, foreign: Foreign) -> Ask:
    """Sends one command and gives its answer."""

    async def never(daemon_id: UUID | None) -> None:
        raise AssertionError(f"{daemon_id} was told to drain")

    await consume(names.control, ControlDoor(session=session, schema="jobservice", drain=never))

    async def ask(key: str, command: object, **properties: Any) -> Any:
        return await foreign.answer(foreign.send(foreign.names.command, key, command, **properties))

    return ask
