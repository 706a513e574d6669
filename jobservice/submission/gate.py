"""Keeps the doors for messages shut while the database or its schema is unfit.

Messages then stay with the broker, for other daemons too, instead of waiting in hand until the broker takes them back:
quorum queues count that.
"""

from collections.abc import Sequence
from typing import Protocol

import structlog

from jobservice.domain.errors import SchemaError, UnavailableError
from jobservice.store.schema import require
from jobservice.store.session import Session

log = structlog.get_logger(__name__)

SHUT_LOOK_SECONDS = 1.0


class Pausable(Protocol):
    """A consumer."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Gate:
    """`run_once` belongs to a Loop. Shut at first: the first round that finds all well opens it."""

    def __init__(self, *, session: Session, schema: str, consumers: Sequence[Pausable]) -> None:
        self._session = session
        self._schema = schema
        self._consumers = consumers
        self.open = False
        for consumer in consumers:
            consumer.pause()

    async def run_once(self) -> float | None:
        """Look, and open or shut; the seconds until the next look, None for the loop's interval."""
        try:
            async with self._session.use() as connection:
                await require(connection, self._schema)
        except (UnavailableError, SchemaError) as error:
            if self.open:
                log.warning("gate.shut", reason=str(error))
            self._set(False)
            return SHUT_LOOK_SECONDS
        if not self.open:
            log.info("gate.open")
        self._set(True)
        return None

    def _set(self, fit: bool) -> None:
        if fit == self.open:
            return
        self.open = fit
        for consumer in self._consumers:
            if fit:
                consumer.resume()
            else:
                consumer.pause()
