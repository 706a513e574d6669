"""A daemon that is told to leave while it gives up a lost identity takes no new one."""

from typing import Any
from uuid import uuid4

import pytest

from jobservice import service
from jobservice.config import Settings
from jobservice.daemon.daemon import Ending


class Lost:
    """Is lost, and hears the order to leave while it gives up what it ran."""

    built = 0

    def __init__(self, *, superior: Any, **_: Any) -> None:
        type(self).built += 1
        self.id = uuid4()
        self.superior = superior
        self.drained = False

    async def run(self) -> Ending:
        if self.built == 2:
            self.superior.subordinate.drain()
            assert self.drained
        return Ending.LOST

    def drain(self, *, at_once: bool = False) -> None:
        self.drained = True

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        return False, {}


class Superior:
    def attend(self, subordinate: Any) -> None:
        self.subordinate = subordinate


async def test_a_lost_daemon_comes_back_until_it_is_told_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "Daemon", Lost)
    monkeypatch.setattr(Lost, "built", 0)
    settings = Settings(database_url="postgresql://nowhere/x", amqp_url="amqp://nowhere")

    await service.run_daemon(settings, superior=Superior())

    assert Lost.built == 2
