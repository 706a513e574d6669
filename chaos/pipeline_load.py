"""Owns the services that submit pipelines and command them, by SQL and by messages, and bring them to an end."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from chaos.pauses import Pauses
from chaos.pipeline_plan import PlannedPipeline, PlannedVerb
from chaos.servers import Servers

SUBMIT = "SELECT pipeline_id FROM jobservice.submit_pipeline($1::text::jsonb)"
COMMAND = "SELECT accepted FROM jobservice.command_pipelines(ARRAY[$1::uuid], $2, $3::text::jsonb)"
WAITING = """
SELECT p.id, p.status, p.paused,
       ARRAY(SELECT s.id FROM jobservice.stage s WHERE s.pipeline_id = p.id AND s.hold AND s.status = 'PENDING') AS held
FROM jobservice.pipeline p WHERE p.stop_date IS NULL AND p.ending IS NULL
"""
CLOCK = "SELECT clock_timestamp() AS moment"
UNDO_A_PAUSE = frozenset({"resume", "restart"})
RELEASE = "SELECT accepted FROM jobservice.command_stages($1::uuid[], 'release')"
_LOOK = 1.0


@dataclass
class PipelinesTold:
    """What the services know they have said of pipelines, and what they were answered."""

    keys: set[str] = field(default_factory=set)
    """Accepted."""
    stopped: set[UUID] = field(default_factory=set)
    """Whose stop was accepted."""
    restarts: Counter[UUID] = field(default_factory=Counter)
    """How often each one's restart was asked for."""
    pauses: Pauses = field(default_factory=Pauses)
    verbs: Counter[str] = field(default_factory=Counter)
    """What was said; by SQL only what was accepted."""


class PipelineLoad:
    """`run` submits all and does to them what is planned; `bring_to_end` is the patient user afterwards."""

    def __init__(self, *, plan: list[PlannedPipeline], servers: Servers) -> None:
        self.told = PipelinesTold()
        self._plan = plan
        self._servers = servers

    async def run(self) -> None:
        """Returns when the last planned thing has been done."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for planned in self._plan:
                await asyncio.sleep(max(0.0, began + planned.at - time.monotonic()))
                group.create_task(self._live(planned))

    async def bring_to_end(self) -> None:
        """For ever: start, resume and release what waits for somebody."""
        self.told.pauses.end_all(await self._clock())
        while True:
            for row in await self._servers.ask(WAITING):
                if row["status"] == "PENDING":
                    await self._servers.ask(COMMAND, row["id"], "start", None)
                elif row["paused"]:
                    await self._servers.ask(COMMAND, row["id"], "resume", None)
                if row["held"]:
                    await self._servers.ask(RELEASE, row["held"])
            await asyncio.sleep(_LOOK)

    async def _live(self, planned: PlannedPipeline) -> None:
        if planned.by_message:
            for _ in range(1 + planned.twice):
                await self._servers.send("submit", planned.tree["tenant"], {"pipeline": planned.tree})
            self.told.keys.add(planned.key)
            return
        ids = {
            (await self._servers.ask(SUBMIT, json.dumps(planned.tree)))[0]["pipeline_id"]
            for _ in range(1 + planned.twice)
        }
        assert len(ids) == 1, "one key, two pipelines"
        self.told.keys.add(planned.key)
        (pipeline_id,) = ids
        began = time.monotonic()
        for verb in planned.verbs:
            await asyncio.sleep(max(0.0, began + verb.after - time.monotonic()))
            await self._command(pipeline_id, verb)

    async def _command(self, pipeline_id: UUID, verb: PlannedVerb) -> None:
        if verb.verb == "restart":
            self.told.restarts[pipeline_id] += 1
        if verb.verb in UNDO_A_PAUSE:
            self.told.pauses.end(pipeline_id, await self._clock())
        said = self._by_message if verb.by_message else self._by_sql
        if await said(pipeline_id, verb):
            self.told.verbs[verb.verb] += 1

    async def _by_message(self, pipeline_id: UUID, verb: PlannedVerb) -> bool:
        name = "set_pipeline_priority" if verb.verb == "set_priority" else f"{verb.verb}_pipeline"
        body: dict[str, Any] = {"command": name, "pipeline_id": str(pipeline_id)}
        if verb.argument is not None:
            body["priority"] = verb.argument
        if verb.verb in UNDO_A_PAUSE:
            self.told.pauses.doubt(pipeline_id)
        await self._servers.send("command", "_operator", body)
        return True

    async def _by_sql(self, pipeline_id: UUID, verb: PlannedVerb) -> bool:
        argument = None if verb.argument is None else json.dumps(verb.argument)
        lost = self._servers.lost_answers
        [row] = await self._servers.ask(COMMAND, pipeline_id, verb.verb, argument)
        if verb.verb in UNDO_A_PAUSE and self._servers.lost_answers > lost:
            self.told.pauses.doubt(pipeline_id)  # said more than once
        if row["accepted"] and verb.verb == "stop":
            self.told.stopped.add(pipeline_id)
        if row["accepted"] and verb.verb == "pause":
            self.told.pauses.begin(pipeline_id, await self._clock())
        return bool(row["accepted"])

    async def _clock(self) -> datetime:
        [row] = await self._servers.ask(CLOCK)
        moment: datetime = row["moment"]
        return moment
