"""Fair shares between tenants: the claim takes just what the rule in domain/ says, and slots follow weights."""

from dataclasses import replace
from typing import Any

import pytest
from fair_share import Tenant, Waiting, after_claim, chosen, lifted
from hypothesis import given, settings
from hypothesis import strategies as st

from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.limits import Limits

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
    """Tenants; those without live jobs may have spent the same, to the last bit: weights are powers of two.

    All others are far apart: whoever is ahead of the last is so by more than counts.
    """
    numbers = iter(range(1, 1000))
    tenants = []
    for nth, name in enumerate(draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True))):
        weight = draw(st.sampled_from([0.25, 0.5, 1, 2, 4]))
        live = draw(st.integers(0, 4))
        ended = draw(st.integers(0, live))
        age = draw(st.sampled_from([0, 10_000.0]))
        spent = draw(st.integers(0, 3)) + (0.1 + nth / 8 if live else 0)
        tenants.append(
            Tenant(
                name=name,
                weight=weight,
                live=live,
                ended=ended,
                age=age,
                charged=spent * CHARGE * weight - (live - ended) * age,
                active=draw(st.integers(0, 3)) > 0,
                paused=draw(st.integers(0, 9)) == 0,
                here_max=draw(limits),
                over_all_max=draw(limits),
                waiting=tuple(replace(job, number=next(numbers)) for job in draw(st.lists(jobs, max_size=9))),
            )
        )
    return tenants


@st.composite
def close_crowds(draw: st.DrawFn) -> list[Tenant]:
    """Tenants that are ahead of each other by seconds and parts of them. None has live jobs: no clock plays a part."""
    quarters = st.integers(0, 16)
    return [replace(tenant, live=0, ended=0, charged=draw(quarters) / 4 * tenant.weight) for tenant in draw(crowds())]


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


@given(tenants=close_crowds(), slots=st.integers(1, 12))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_being_ahead_counts_as_slots_as_the_rule_says(scene: Any, tenants: list[Tenant], slots: int) -> None:
    runner, laid_out = scene
    runner.run(laid_out.lay_out(tenants, None))

    claimed = runner.run(laid_out.claim_beside_holders(tenants, slots, []))

    assert claimed == set(chosen(tenants, slots=slots, queue_max=None, skipped=[]))


@given(tenants=crowds(), slots=st.integers(2, 8))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_each_claim_goes_on_where_the_one_before_it_left_off(scene: Any, tenants: list[Tenant], slots: int) -> None:
    runner, laid_out = scene
    tenants = [
        replace(
            tenant,
            waiting=tuple(replace(job, key=None, held=False) for job in tenant.waiting),
            charged=tenant.charged + nth * CHARGE / 100 * tenant.weight,  # no ties: the first slot would end them
            active=True,
        )
        for nth, tenant in enumerate(tenants)
    ]
    runner.run(laid_out.lay_out(tenants, None))

    claims, expected = [], []
    for _ in range(slots):
        claims.append(runner.run(laid_out.claim(1, [])))
        expected.append(set(chosen(tenants, slots=1, queue_max=None, skipped=[])))
        tenants = after_claim(tenants, expected[-1])

    assert claims == expected


@given(tenants=crowds())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_who_comes_new_is_lifted_as_the_rule_says(scene: Any, tenants: list[Tenant]) -> None:
    runner, laid_out = scene
    runner.run(laid_out.lay_out(tenants, None))

    runner.run(laid_out.claim(1, []))

    shares = runner.run(laid_out.shares())
    waiting = {tenant.name for tenant in tenants if tenant.waiting}  # of others it is noted when somebody looks
    present = {party.tenant: party for party in lifted(tenants) if party.tenant in waiting}
    assert {name for name, (_, active) in shares.items() if active and name in waiting} == set(present)
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
                "UPDATE jobservice.tenant_account SET charged = charged + $2 WHERE tenant = $1", names[number], CHARGE
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
    runner.run(laid_out.connection.execute("UPDATE jobservice.tenant_account SET since = NULL WHERE tenant = 'bolt'"))

    runner.run(laid_out.claim(1, []))

    assert runner.run(laid_out.shares()) == {"acme": (50 * CHARGE, True), "bolt": (50 * CHARGE, True)}


def test_who_has_nothing_any_more_takes_no_part_when_it_would_be_next(scene: Any) -> None:
    runner, laid_out = scene
    present, gone = backlog("acme", "bolt", each=1)
    runner.run(laid_out.lay_out([present, replace(gone, waiting=())], None))

    runner.run(laid_out.claim(2, []))

    assert runner.run(laid_out.shares()) == {"acme": (0, True), "bolt": (0, False)}


def test_what_ended_runs_took_is_charged_with_the_next_claim_even_one_that_gives_nothing(scene: Any) -> None:
    runner, laid_out = scene
    runner.run(laid_out.lay_out(backlog("acme", each=1), None))
    runner.run(Limits().set_queue(laid_out.connection, "default", paused=True))
    claimer = Claimer(daemon_id=laid_out.daemon, schema="jobservice", submissions_published=False)

    for _ in range(2):
        runner.run(
            claimer.claim(
                laid_out.connection, queue="default", slots=1, skipped_classes=(), charges={"acme": 2.5, "nobody": 1.0}
            )
        )

    rows = runner.run(laid_out.connection.fetch("SELECT tenant, charged FROM jobservice.tenant_account"))
    assert {row["tenant"]: row["charged"] for row in rows} == {"acme": 5.0}


def test_a_light_tenant_is_not_starved_by_a_heavy_one_in_a_small_pool(scene: Any) -> None:
    runner, laid_out = scene
    heavy, light = backlog("acme", "bolt", each=3)
    runner.run(laid_out.lay_out([replace(heavy, weight=10, live=3, charged=9 * CHARGE), light], None))

    claimed = runner.run(laid_out.claim(1, []))

    assert claimed == {light.waiting[0].number}
