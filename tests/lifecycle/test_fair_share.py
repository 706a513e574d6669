"""Fair shares between tenants: the claim takes just what the rule in domain/ says, and slots follow weights."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factory import empty_tables, make_daemon
from fair_share import Tenant, Waiting, chosen, lifted
from hypothesis import given, settings
from hypothesis import strategies as st

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.commands import Commands

CHARGE = 1e7
"""A tenth of it lies between any two tenants' spent time that are not equal: the clock moves while a test lays out."""

limits = st.none() | st.integers(0, 4)
jobs = st.builds(
    lambda priority, job_class, key, held: Waiting(0, priority, job_class, key, held),
    st.integers(-2, 2),
    st.sampled_from(["Nap", "Nap", "Nap", "Unknown"]),
    st.sampled_from([None, None, None, "k"]),
    st.integers(0, 9).map(lambda n: n == 0),
)


@st.composite
def crowds(draw: st.DrawFn) -> list[Tenant]:
    """Tenants; those without live jobs may have spent the same, to the last bit: weights are powers of two."""
    numbers = iter(range(1, 1000))
    tenants = []
    for nth, name in enumerate(draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True))):
        weight = draw(st.sampled_from([0.25, 0.5, 1, 2, 4]))
        live = draw(st.integers(0, 4))
        age = draw(st.sampled_from([0, 10_000.0]))
        spent = draw(st.integers(0, 3)) + (0.1 + nth / 8 if live else 0)
        tenants.append(
            Tenant(
                name=name,
                weight=weight,
                live=live,
                age=age,
                charged=spent * CHARGE * weight - live * age,
                active=live > 0 or draw(st.integers(0, 3)) > 0,
                paused=draw(st.integers(0, 9)) == 0,
                here_max=draw(limits),
                over_all_max=draw(limits),
                waiting=tuple(replace(job, number=next(numbers)) for job in draw(st.lists(jobs, max_size=9))),
            )
        )
    return tenants


class Scene:
    """A queue with these tenants, laid out in the database."""

    def __init__(self, connection: asyncpg.Connection, other: asyncpg.Connection) -> None:
        self.connection = connection
        self.other = other
        self.daemon = UUID(int=0)

    async def lay_out(self, tenants: list[Tenant], queue_max: int | None) -> None:
        await empty_tables(self.connection)
        self.daemon = await make_daemon(self.connection)
        await Commands().set_queue(self.connection, "default", max_running=-1 if queue_max is None else queue_max)
        await self.connection.executemany(
            "INSERT INTO jobservice.tenant (tenant, max_running, paused, weight) VALUES ($1, $2, $3, $4)",
            [(t.name, t.over_all_max, t.paused, t.weight) for t in tenants],
        )
        await self.connection.executemany(
            """INSERT INTO jobservice.tenant_share (queue, tenant, max_running, charged, active)
               VALUES ('default', $1, $2, $3, $4)""",
            [(t.name, t.here_max, t.charged, t.active) for t in tenants],
        )
        await self.connection.executemany(
            """INSERT INTO jobservice.job_info (id, tenant, queue, job_class, status, daemon_id, run, claim_date)
               VALUES (gen_random_uuid(), $1, 'default', 'Nap', 'TO_BE_RUN', $2, 1,
                       clock_timestamp() - make_interval(secs => $3))""",
            [(t.name, self.daemon, t.age) for t in tenants for _ in range(t.live)],
        )
        waiting = sorted((job.number, job, t.name) for t in tenants for job in t.waiting)
        await self.connection.executemany(
            """INSERT INTO jobservice.job_info
                      (id, tenant, queue, job_class, priority, concurrency_key, status, queued_date)
               VALUES ($1, $2, 'default', $3, $4, $5, 'QUEUED', now())""",
            [(UUID(int=n), tenant, job.job_class, job.priority, job.key) for n, job, tenant in waiting],
        )
        await self.connection.execute(
            """INSERT INTO jobservice.concurrency_key (tenant, key)
               SELECT DISTINCT tenant, concurrency_key FROM jobservice.job_info WHERE concurrency_key IS NOT NULL"""
        )

    @asynccontextmanager
    async def held(self, tenants: list[Tenant]) -> AsyncIterator[None]:
        """Another session has locked the rows of the jobs that are held."""
        ids = [UUID(int=job.number) for tenant in tenants for job in tenant.waiting if job.held]
        async with self.other.transaction():
            await self.other.fetch("SELECT FROM jobservice.job_info WHERE id = ANY ($1) FOR UPDATE", ids)
            yield

    async def claim(self, slots: int, skipped: list[str]) -> set[int]:
        claimer = Claimer(daemon_id=self.daemon, schema="jobservice", submissions_published=False)
        claim = await claimer.claim(self.connection, queue="default", slots=slots, skipped_classes=skipped, charges={})
        return {job.card.job_id.int for job in claim.jobs}

    async def claim_beside_holders(self, tenants: list[Tenant], slots: int, skipped: list[str]) -> set[int]:
        async with self.held(tenants):
            return await self.claim(slots, skipped)

    async def shares(self) -> dict[str, tuple[float, bool]]:
        rows = await self.connection.fetch("SELECT tenant, charged, active FROM jobservice.tenant_share")
        return {row["tenant"]: (row["charged"], row["active"]) for row in rows}


@pytest.fixture(scope="module")
def scene(module_database_url: str) -> Iterator[tuple[asyncio.Runner, Scene]]:
    """Hypothesis calls the test many times in one loop of its own."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        connections = [runner.run(asyncpg.connect(module_database_url)) for _ in range(2)]
        yield runner, Scene(*connections)
        for connection in connections:
            runner.run(connection.close())


@given(tenants=crowds(), slots=st.integers(1, 12), queue_max=st.none() | st.integers(0, 12), skipping=st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_claim_takes_what_the_rule_says(
    scene: Any, tenants: list[Tenant], slots: int, queue_max: int | None, skipping: bool
) -> None:
    runner, laid_out = scene
    skipped = ["Unknown"] if skipping else []
    runner.run(laid_out.lay_out(tenants, queue_max))

    claimed = runner.run(laid_out.claim_beside_holders(tenants, slots, skipped))

    assert claimed == set(chosen(tenants, slots=slots, queue_max=queue_max, skipped=skipped))


@given(tenants=crowds(), slots=st.integers(2, 8))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_slot_by_slot_is_the_order_of_the_rule(scene: Any, tenants: list[Tenant], slots: int) -> None:
    runner, laid_out = scene
    tenants = [replace(t, waiting=tuple(replace(job, key=None, held=False) for job in t.waiting)) for t in tenants]
    runner.run(laid_out.lay_out(tenants, None))

    claims = [runner.run(laid_out.claim(1, [])) for _ in range(slots)]

    expected = chosen(tenants, slots=slots, queue_max=None, skipped=[])
    assert claims == [{number} for number in expected] + [set()] * (slots - len(expected))


@given(tenants=crowds())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_who_comes_new_is_lifted_as_the_rule_says(scene: Any, tenants: list[Tenant]) -> None:
    runner, laid_out = scene
    runner.run(laid_out.lay_out(tenants, None))

    runner.run(laid_out.claim(1, []))

    shares = runner.run(laid_out.shares())
    present = {party.tenant: party for party in lifted(tenants, [])}
    assert {name for name, (_, active) in shares.items() if active} == set(present)
    for name, party in present.items():
        assert shares[name][0] == pytest.approx(party.charged, abs=CHARGE / 100)


def drain(scene: Any, tenants: list[Tenant], *, slots: int) -> list[str]:
    """The tenants in the order in which one slot after the other goes to them; each job ends before the next claim."""
    runner, laid_out = scene
    runner.run(laid_out.lay_out(tenants, None))
    names = {job.number: tenant.name for tenant in tenants for job in tenant.waiting}
    order = []
    for _ in range(slots):
        (number,) = runner.run(laid_out.claim(1, []))
        order.append(names[number])
        runner.run(
            laid_out.connection.execute(
                "UPDATE jobservice.job_info SET status = 'ABORTED', stop_date = now() WHERE daemon_id IS NOT NULL"
            )
        )
        runner.run(
            laid_out.connection.execute(
                "UPDATE jobservice.tenant_share SET charged = charged + $2 WHERE tenant = $1", names[number], CHARGE
            )
        )
    return order


def backlog(*names: str, each: int) -> list[Tenant]:
    return [
        Tenant(name=name, waiting=tuple(Waiting(nth * each + n + 1, 0) for n in range(each)))
        for nth, name in enumerate(names)
    ]


def test_a_slot_goes_in_turn_to_tenants_of_equal_weight_however_much_one_has_submitted_first(scene: Any) -> None:
    tenants = backlog("acme", "bolt", "core", each=4)

    order = drain(scene, tenants, slots=12)

    assert [set(order[n : n + 3]) for n in range(0, 12, 3)] == 4 * [{"acme", "bolt", "core"}]


def test_slot_seconds_follow_the_weights(scene: Any) -> None:
    heavy, light = backlog("acme", "bolt", each=12)

    order = drain(scene, [replace(heavy, weight=3), light], slots=12)

    assert (order.count("acme"), order.count("bolt")) == (9, 3)


def test_who_comes_after_a_long_absence_has_saved_no_credit(scene: Any) -> None:
    runner, laid_out = scene
    regular, returned = backlog("acme", "bolt", each=3)
    runner.run(laid_out.lay_out([replace(regular, charged=50 * CHARGE), returned], None))
    runner.run(laid_out.connection.execute("UPDATE jobservice.tenant_share SET active = false WHERE tenant = 'bolt'"))

    runner.run(laid_out.claim(1, []))

    rows = runner.run(laid_out.connection.fetch("SELECT tenant, charged, active FROM jobservice.tenant_share"))
    assert {row["tenant"]: (row["charged"], row["active"]) for row in rows} == {
        "acme": (50 * CHARGE, True),
        "bolt": (50 * CHARGE, True),
    }


def test_who_has_neither_jobs_queued_nor_running_is_forgotten_until_it_comes_again(scene: Any) -> None:
    runner, laid_out = scene
    present, gone = backlog("acme", "bolt", each=1)
    runner.run(laid_out.lay_out([present, replace(gone, waiting=())], None))

    runner.run(laid_out.claim(1, []))

    rows = runner.run(laid_out.connection.fetch("SELECT tenant, active FROM jobservice.tenant_share"))
    assert {row["tenant"]: row["active"] for row in rows} == {"acme": True, "bolt": False}


def test_what_ended_runs_took_is_charged_with_the_next_claim_even_one_that_gives_nothing(scene: Any) -> None:
    runner, laid_out = scene
    runner.run(laid_out.lay_out(backlog("acme", each=1), None))
    runner.run(Commands().set_queue(laid_out.connection, "default", paused=True))
    claimer = Claimer(daemon_id=laid_out.daemon, schema="jobservice", submissions_published=False)

    for _ in range(2):
        runner.run(
            claimer.claim(
                laid_out.connection, queue="default", slots=1, skipped_classes=(), charges={"acme": 2.5, "nobody": 1.0}
            )
        )

    rows = runner.run(laid_out.connection.fetch("SELECT tenant, charged FROM jobservice.tenant_share"))
    assert {row["tenant"]: row["charged"] for row in rows} == {"acme": 5.0}


def test_a_light_tenant_is_not_starved_by_a_heavy_one_in_a_small_pool(scene: Any) -> None:
    runner, laid_out = scene
    heavy, light = backlog("acme", "bolt", each=3)
    runner.run(laid_out.lay_out([replace(heavy, weight=10, live=3, charged=9 * CHARGE), light], None))

    claimed = runner.run(laid_out.claim(1, []))

    assert claimed == {light.waiting[0].number}
