"""The checkpoints of one step, or of a part of one, in one run: the last statement of each chunk's transaction.

Made by the Book, used by the chunk loop. A chunk of items that cost nothing waits for little else than its round trips
and for this: so what is the same for all chunks is put together once, and a state that stands already is not sent.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from jobservice.domain.errors import DefinitionError, JobServiceError
from jobservice.sdk.json_values import RESULT_DEPTH_MAX, dump, to_plain
from jobservice.sdk.steps import Counts
from jobservice.store.sql import load

_FILE = Path(__file__).with_name("steps.sql")


class RunLost(JobServiceError):
    """The run is not the job's current one any more: what it wanted to commit is rolled back."""


class Checkpoints:
    """`write` in the chunk's transaction, `committed` behind it."""

    def __init__(self, schema: str, known: Mapping[str, Any]) -> None:
        """`known` are instance, step, part, and the fence: job, run, daemon."""
        self._sql = load(_FILE, schema)
        self._values = dict(known)
        self._stands: str | None = None
        self._sent: str | None = None

    async def write(
        self, connection: asyncpg.Connection, *, position: Any, state: Mapping[str, Any], counts: Counts
    ) -> None:
        """Raises RunLost, after which the transaction must be rolled back."""
        values = self._values
        text = self._sent = as_json("context.state", dict(state)) if state else "{}"
        values["position"] = as_json(f"the position of an item of step {values['step']}", position)
        values["context"] = None if text == self._stands else text
        for name in Counts.__slots__:
            values[name] = getattr(counts, name)
        if await self._sql.checkpoint(connection, **values) is None:
            raise RunLost(f"the run was taken from this daemon before the chunk at {position!r} was committed")

    def committed(self) -> None:
        """What was written stands: the state of the next chunk may be the same."""
        self._stands = self._sent


def as_json(what: str, value: Any) -> str:
    """As text. Raises DefinitionError for what would be another value when it is read back: after a restart only."""
    if not _is_json(value):
        raise DefinitionError(
            f"{what} is kept as JSON, and this would read back as another value: {value!r:.500}; write it as a text, a"
            " number, or a list or object of these"
        )
    return dump(to_plain(value, RESULT_DEPTH_MAX))


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(each) for name, each in value.items())
    if isinstance(value, list | tuple):
        return all(_is_json(each) for each in value)
    return value is None or isinstance(value, str | bool | int | float)
