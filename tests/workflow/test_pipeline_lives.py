"""Pipelines of any shape, jobs that end in any way, anybody's verbs at any time: the books stay right, and it ends.

The jobs are claimed and ended by two daemons with the real claim and the real status writer; two things happen at a
time on two sessions, while a third one holds rows. After each step the counters are compared with the rows.
"""

import asyncio
import os
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pipe_books as books
import pytest
from crew import Crew
from factory import SETTLER, HeldRun, empty_tables
from histories import check_histories
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Retried, Succeeded
from jobservice.domain.pipelines import PipelineVerb, StageVerb
from jobservice.lifecycle.rescue import Rescuer
from jobservice.lifecycle.upkeep import Upkeep

NO = Failed("ValueError", "no")
OUTCOMES: list[Outcome] = [
    *[Succeeded()] * 4, NO, Aborted("enough"), HandedBack("drain"), Retried(NO, 0.0), Retried(NO, 60.0),
]  # fmt: skip
EXAMPLES = int(os.environ.get("JOBSERVICE_TEST_EXAMPLES", "40"))

ARGUMENTS: dict[str, Any] = {
    "stop": "enough", "set_priority": 7, "update_metadata": {"a": 1}, "increment_metadata": {"key": "n", "by": 1},
}  # fmt: skip
JOBS: list[dict[str, Any]] = [{}, {}, {}, {"trigger_after_date": "2100-01-01T00:00:00Z"}, {"idempotency_key": "a"}]
POLICIES: list[dict[str, Any]] = [
    {},
    {"on_failure": "abort_stage"},
    {"on_failure": "continue", "allowed_failures": 0},
    {"on_failure": "continue", "allowed_failures": 0.5},
    {"on_failure": "continue"},
]
ACTS = ["submit", "add_stages", "add_jobs", "stage_verb", "stop_job", "expire", "go_on", *["verb"] * 6, *["work"] * 8]

chances = st.integers(0, 2**24).map(Random)
"""What a step is made of: one draw each, since hypothesis bounds how much an example may draw."""


def any_jobs(chance: Random) -> list[dict[str, Any]]:
    return [{"job_class": "Nap", **chance.choice(JOBS)} for _ in range(chance.randint(0, 4))]


def any_stage(chance: Random) -> dict[str, Any]:
    marks = {"hold": chance.random() < 0.2, "open": chance.random() < 0.2}
    return {"jobs": any_jobs(chance), **marks, **chance.choice(POLICIES)}


class Yard:
    """The database, and the sessions that outlive one example."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self.run = runner.run
        self.url = url
        self.books, self.holder, *self.hands = [self.run(asyncpg.connect(url)) for _ in range(4)]
        self.crews: list[Crew] = []

    def reset(self) -> None:
        self.run(empty_tables(self.books))
        self.run(self.hire_both())

    async def hire_both(self) -> None:
        if not self.crews:
            self.crews = [await Crew.hired(await asyncpg.connect(self.url), self.url) for _ in range(2)]
        for n in range(2):
            await self.hire_anew(n)

    async def hire_anew(self, n: int) -> UUID:
        """The same sessions for a new daemon; the id of the old one."""
        old = self.crews[n]
        self.crews[n] = await Crew.hired(old.connection, self.url, session=old.session)
        return old.id

    def close(self) -> None:
        for crew in self.crews:
            self.run(crew.session.close())
            self.run(crew.connection.close())
        for connection in (self.books, self.holder, *self.hands):
            self.run(connection.close())


@contextmanager
def too_late_is_no_fault() -> Iterator[None]:
    try:
        yield
    except asyncpg.NoDataFoundError:
        return
    except asyncpg.InvalidParameterValueError as refused:
        if "nothing can be added" not in str(refused):
            raise


@pytest.fixture(scope="module")
def yard(module_database_url: str) -> Iterator[Yard]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yard = Yard(runner, module_database_url)
        yield yard
        yard.close()


class PipelineLives(RuleBasedStateMachine):
    """What users and daemons may do, one or two things at a time."""

    def __init__(self, yard: Yard) -> None:
        super().__init__()
        self.yard = yard
        yard.reset()
        self.held: list[list[HeldRun]] = [[], []]
        self.at_work = [asyncio.Lock(), asyncio.Lock()]
        self.holding: Any = None

    # ---------------------------------------------------------------------------------------------------------- steps

    @initialize(chance=chances)
    def begin(self, chance: Random) -> None:
        self.do(self.submit(0, chance))
        self.do(self.submit(0, chance))

    @rule(chance=chances)
    def one_thing(self, chance: Random) -> None:
        self.do(self.some_act(chance.randint(0, 1), chance))

    @rule(chance=chances)
    def two_things_at_a_time(self, chance: Random) -> None:
        self.do(self.some_act(0, chance), self.some_act(1, chance))

    @rule(n=st.integers(0, 1), chance=chances)
    def work_on(self, n: int, chance: Random) -> None:
        self.do(self.work(n, chance))

    @rule(n=st.integers(0, 1))
    def lose_a_daemon(self, n: int) -> None:
        lost = self.yard.run(self.yard.hire_anew(n))
        rescuer = Rescuer(schema="jobservice", max_lost_runs=2, follower=SETTLER)
        self.do(rescuer.mark_lost_and_rescue(self.yard.hands[0], lost, 0))
        self.held[n] = []

    @rule(chance=chances)
    def hold_rows(self, chance: Random) -> None:
        """A client has looked at jobs in a transaction that it does not end."""
        self.let_go()
        ids = [row["id"] for row in self.yard.run(self.yard.books.fetch("SELECT id FROM jobservice.job_info"))]
        some = chance.sample(ids, min(3, len(ids)))
        self.holding = self.yard.holder.transaction()
        self.yard.run(self.holding.start())
        self.yard.run(
            self.yard.holder.execute("SELECT FROM jobservice.job_info WHERE id = ANY ($1) ORDER BY id FOR UPDATE", some)
        )

    @rule()
    def let_go(self) -> None:
        if self.holding is not None:
            self.yard.run(self.holding.rollback())
            self.holding = None

    # ----------------------------------------------------------------------------------------------------------- acts

    def some_act(self, n: int, chance: Random) -> Awaitable[Any]:
        name, verb = chance.choice(ACTS), chance.choice(list(PipelineVerb))
        if name == "verb":
            if verb is PipelineVerb.SET_PRIORITY:  # waits for job rows, as for jobs without a stage
                self.let_go()
            return self.command(n, chance, verb)
        if name == "stop_job":
            self.let_go()
        act: Awaitable[Any] = getattr(self, name)(n, chance)
        return act

    def do(self, *some: Awaitable[Any]) -> None:
        async def together() -> None:
            async with asyncio.timeout(60):
                await asyncio.gather(*some)

        self.yard.run(together())
        self.yard.run(books.check_books(self.yard.books))

    async def any_of(self, n: int, chance: Random, table: str, where: str = "true") -> UUID | None:
        rows = await self.yard.hands[n].fetch(
            f"SELECT id FROM jobservice.{table} WHERE {where} ORDER BY created_date, id"
        )
        return chance.choice(rows)["id"] if rows else None

    async def submit(self, n: int, chance: Random) -> None:
        stages = [any_stage(chance) for _ in range(chance.randint(0, 4))]
        marks = {"open": chance.random() < 0.25, "status": chance.choice(["QUEUED", "QUEUED", "QUEUED", "PENDING"])}
        await books.submit(self.yard.hands[n], *stages, **marks)

    async def add_stages(self, n: int, chance: Random) -> None:
        pipeline_id = await self.any_of(n, chance, "pipeline")
        with too_late_is_no_fault():
            await books.add_stages(self.yard.hands[n], pipeline_id or uuid4(), [any_stage(chance)] * 2)

    async def add_jobs(self, n: int, chance: Random) -> None:
        stage_id = await self.any_of(n, chance, "stage")
        with too_late_is_no_fault():
            await books.add_jobs(self.yard.hands[n], stage_id or uuid4(), any_jobs(chance))

    async def command(self, n: int, chance: Random, verb: PipelineVerb) -> None:
        pipeline_id = await self.any_of(n, chance, "pipeline")
        if pipeline_id is not None:
            await books.command(self.yard.hands[n], verb, pipeline_id, ARGUMENTS.get(verb))

    async def stage_verb(self, n: int, chance: Random) -> None:
        stage_id, verb = await self.any_of(n, chance, "stage"), chance.choice(list(StageVerb))
        if stage_id is not None:
            await books.command_stage(self.yard.hands[n], verb, stage_id, ARGUMENTS.get(verb))

    async def stop_job(self, n: int, chance: Random) -> None:
        job_id = await self.any_of(n, chance, "job_info")
        if job_id is not None:
            await self.yard.hands[n].execute("SELECT jobservice.stop_jobs(ARRAY[$1::uuid])", job_id)

    async def expire(self, n: int, chance: Random) -> None:
        hands = self.yard.hands[n]
        await hands.execute(
            """UPDATE jobservice.job_info SET expiration_date = now() - interval '1 second' WHERE id IN (
                 SELECT id FROM jobservice.job_info WHERE id = $1 AND status IN ('PENDING', 'QUEUED')
                 FOR NO KEY UPDATE SKIP LOCKED)""",
            await self.any_of(n, chance, "job_info", "status IN ('PENDING', 'QUEUED')"),
        )
        await Upkeep(schema="jobservice", follower=SETTLER).expire(hands)

    async def go_on(self, n: int, _: Random) -> None:
        await SETTLER.settle_next(self.yard.hands[n])

    async def work(self, n: int, chance: Random) -> None:
        """Claims some jobs, and tells of some that it holds how they ended, or that they have started."""
        crew, held = self.yard.crews[n], self.held[n]
        async with self.at_work[n]:
            held.extend(await crew.claim(chance.randint(0, 4)))
            for run in chance.sample(held, chance.randint(0, len(held))):
                if chance.random() < 0.3:
                    crew.writer.start(run)
                else:
                    crew.writer.finish(run, chance.choice(OUTCOMES))
                    held.remove(run)
            await crew.writer.run_once()

    # ------------------------------------------------------------------------------------------------------- the end

    def teardown(self) -> None:
        self.let_go()
        self.yard.run(self.bring_to_an_end())

    async def bring_to_an_end(self) -> None:
        """With somebody who does the work, and nobody who holds it up, everything comes to its end."""
        connection = self.yard.books
        await check_histories(connection, born=1)
        await connection.execute("UPDATE jobservice.daemon SET stopped_at = now()")
        await Rescuer(schema="jobservice", max_lost_runs=2, follower=SETTLER).rescue(connection)
        for row in await connection.fetch("SELECT id FROM jobservice.pipeline"):
            for verb in ("start", "resume", "seal"):
                await books.command(connection, verb, row["id"])
        for row in await connection.fetch("SELECT id FROM jobservice.stage ORDER BY position"):
            for verb in ("release", "seal"):
                await books.command_stage(connection, verb, row["id"])
        await self.yard.hire_anew(0)
        crew = self.yard.crews[0]
        upkeep = Upkeep(schema="jobservice", follower=SETTLER)
        for rounds in count():
            assert rounds < 1000
            await connection.execute(
                "UPDATE jobservice.job_info SET trigger_after_date = now() WHERE held IN ('trigger', 'backoff')"
            )
            if not await upkeep.enqueue_due(connection) + await crew.work_all():
                break
        await books.check_books(connection)
        await check_histories(connection, born=1)
        left = await connection.fetch("SELECT * FROM jobservice.pipeline WHERE stop_date IS NULL")
        assert not left
        assert not await connection.fetch("SELECT FROM jobservice.job_info WHERE stop_date IS NULL")


def test_whatever_happens_to_pipelines_their_books_are_right_and_they_can_be_brought_to_an_end(yard: Yard) -> None:
    run_state_machine_as_test(
        lambda: PipelineLives(yard),
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=40, deadline=None, derandomize=EXAMPLES == 40, database=None,
            phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
