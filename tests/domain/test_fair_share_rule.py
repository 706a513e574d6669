"""The rule for slots as a pure function: what holds of each choice, and what follows for shares and waits."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fair_loads import Delays, Load, spread
from benchmarks.fair_model import Model
from benchmarks.fair_outcome import Outcome
from jobservice.domain.fair_share import Party, QueuedJob, lift, share_out

EXACT = Delays(0.0, 0.0, 0.0)

numbers, priorities = st.integers(1, 10**6), st.integers(-3, 3)
parties = st.lists(
    st.builds(
        Party,
        tenant=st.sampled_from("abcdefgh"),
        weight=st.sampled_from([0.5, 1, 2, 3, 10]),
        live=st.integers(0, 6),
        charged=st.floats(0, 1e6),
        running=st.floats(0, 1e4),
        room=st.integers(0, 8),
        active=st.booleans(),
        backlog=st.lists(
            st.builds(QueuedJob, st.integers(1, 10**6), st.integers(-3, 3)),
            max_size=8,
            unique_by=lambda job: job.number,
        ),
    ),
    max_size=8,
    unique_by=lambda party: party.tenant,
)


@given(parties, st.integers(0, 20))
def test_no_slot_stays_free_while_somebody_may_use_it_and_nobody_gets_more_than_his_room(
    crowd: list[Party], free: int
) -> None:
    given_out = share_out(crowd, free=free)

    usable = {party.tenant: min(party.room, len(party.backlog)) for party in crowd}
    assert len(given_out) == min(free, sum(usable.values()))
    assert all([tenant for tenant, _ in given_out].count(name) <= most for name, most in usable.items())


@given(parties, st.integers(0, 20))
def test_inside_a_tenant_priority_goes_first_and_then_the_order_of_submission(crowd: list[Party], free: int) -> None:
    given_out = share_out(crowd, free=free)

    for party in crowd:
        got = [job for tenant, job in given_out if tenant == party.tenant]
        assert got == sorted(party.backlog, key=lambda job: (-job.priority, job.number))[: len(got)]


@given(parties, st.integers(1, 20))
def test_whoever_is_given_a_slot_had_over_weight_at_most_two_more_than_who_still_waits_and_none_if_it_has_spent_more(
    crowd: list[Party], free: int
) -> None:
    used = {party.tenant: party.live for party in crowd}
    left = {party.tenant: min(party.room, len(party.backlog)) for party in crowd}
    weights = {party.tenant: party.weight for party in crowd}
    spent = {party.tenant: party.spent for party in lift(crowd)}

    for tenant, _ in share_out(crowd, free=free):
        for name in (name for name, most in left.items() if most > 0):
            assert used[tenant] / weights[tenant] <= (used[name] + 2) / weights[name] + 1e-9
            if weights[tenant] == weights[name] and spent[tenant] > spent[name] + 1e-6:
                assert used[tenant] <= used[name]
        used[tenant] += 1
        left[tenant] -= 1


def test_each_second_ahead_of_the_last_counts_as_a_slot_and_two_at_most() -> None:
    backlog = [QueuedJob(n) for n in range(9)]
    last = Party(tenant="last", live=1, backlog=backlog)
    ahead = {seconds: Party(tenant="ahead", charged=seconds, backlog=backlog) for seconds in (0.5, 1.5, 2.5, 1e6)}

    first = {seconds: [name for name, _ in share_out([last, other], free=4)] for seconds, other in ahead.items()}

    assert first == {
        0.5: ["ahead", "last", "ahead", "last"],
        1.5: ["last", "ahead", "last", "ahead"],
        2.5: ["last", "last", "ahead", "last"],
        1e6: ["last", "last", "ahead", "last"],
    }


def test_who_comes_new_goes_before_those_with_whom_it_ties() -> None:
    there = Party(tenant="a", charged=50.0, weight=3, backlog=[QueuedJob(1)])
    new = Party(tenant="b", active=False, weight=3, backlog=[QueuedJob(2)])

    assert share_out([there, new], free=1) == [("b", QueuedJob(2))]


def test_who_may_run_nothing_is_not_the_last_one_that_others_are_ahead_of() -> None:
    paused = Party(tenant="a", room=0, backlog=[QueuedJob(1)])
    behind = Party(tenant="b", charged=100.0, live=1, backlog=[QueuedJob(2)])
    ahead = Party(tenant="c", charged=101.5, backlog=[QueuedJob(3)])

    assert share_out([paused, behind, ahead], free=1) == [("b", QueuedJob(2))]


@given(parties, st.integers(0, 20), st.randoms())
def test_fewer_slots_go_to_the_first_of_those_who_get_more_in_whatever_order_they_ask(
    crowd: list[Party], free: int, draw: random.Random
) -> None:
    more = share_out(crowd, free=free + 1)
    draw.shuffle(crowd)

    assert share_out(crowd, free=free) == more[:free]


@given(parties)
def test_who_comes_new_starts_where_the_last_of_the_others_is_and_nobody_else_is_moved(crowd: list[Party]) -> None:
    lifted = {party.tenant: party for party in lift(crowd)}

    there = [party.spent for party in crowd if party.active and party.room]
    for party in crowd:
        after = lifted[party.tenant]
        if party.active or not party.room or not there:
            assert after == party
        else:
            assert after.spent == pytest.approx(max(party.spent, min(there)))
            assert after.charged >= party.charged


def run(seed: int, tenants: int, slots: int, longest: float, until: float, *, at_once: bool = True) -> Outcome:
    """Tenants of equal weight with lengths of their own; all from the beginning, or each from a date of its own."""
    draw = random.Random(seed)
    loads = []
    for n in range(tenants):
        shortest = longest * 10 ** draw.uniform(-1.5, 0)
        come = 0.0 if at_once else draw.uniform(0, until / 4)
        lengths = spread(shortest, longest * 10 ** draw.uniform(-0.5, 0))
        loads.append(Load(f"t{n:02}", lengths, present=((come, until),)))
    return Model(loads, slots=slots, until=until, daemons=1 + seed % 3, seed=seed, delays=EXACT).run()


sizes = {"seed": st.integers(0, 10**6), "tenants": st.integers(2, 12), "slots": st.integers(1, 12)}


@given(**sizes)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_what_tenants_of_one_weight_have_got_differs_by_no_more_than_three_longest_jobs(
    seed: int, tenants: int, slots: int
) -> None:
    longest = 10.0

    outcome = run(seed, tenants, slots, longest, until=150.0 * max(1.0, tenants / slots))

    got = outcome.received.values()
    assert max(got) - min(got) <= 3 * longest


@given(**sizes)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_tenant_with_a_backlog_never_waits_longer_than_six_jobs_of_each_other_on_all_slots(
    seed: int, tenants: int, slots: int
) -> None:
    longest = 10.0

    outcome = run(seed, tenants, slots, longest, until=100.0 * max(1.0, tenants / slots), at_once=False)

    assert max(outcome.dry.values()) <= 6 * longest * max(tenants - 1, slots) / slots


@pytest.mark.parametrize("slots", [1, 4])
def test_who_comes_after_a_long_time_waits_for_one_slot_and_for_no_day_to_be_made_up_for(slots: int) -> None:
    always = Load("always", lambda _: 2.0, present=((0, 20_000),))
    comes = Load("comes", lambda _: 2.0, present=((10_001, 20_000),))

    outcome = Model([always, comes], slots=slots, until=20_000, delays=EXACT).run()

    assert max(outcome.dry.values()) <= 4.0
    assert outcome.jain() > 0.999
