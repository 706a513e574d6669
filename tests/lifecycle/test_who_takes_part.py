"""Who is reckoned with when slots are shared out: newcomers, the paused, the limited, runs that have ended just now."""

from typing import Any
from uuid import UUID

from fair_share import Tenant, Waiting

from jobservice.lifecycle.limits import Limits

DAY = 86_400.0


def jobs(first: int, many: int = 1, *, key: str | None = None) -> tuple[Waiting, ...]:
    return tuple(Waiting(first + n, key=key) for n in range(many))


def test_who_comes_new_goes_before_who_was_there(scene: Any) -> None:
    runner, laid_out = scene
    there = Tenant(name="acme", charged=DAY, waiting=jobs(1, 4))
    new = Tenant(name="bolt", active=False, waiting=jobs(9))
    runner.run(laid_out.lay_out([there, new], None))

    claimed = runner.run(laid_out.claim(1, []))

    assert claimed == {9}


def test_a_pause_saves_no_credit(scene: Any) -> None:
    runner, laid_out = scene
    paused = Tenant(name="bolt", paused=True, waiting=jobs(10, 5))
    runner.run(laid_out.lay_out([paused, Tenant(name="acme", charged=DAY, waiting=jobs(1, 5))], None))

    runner.run(laid_out.claim(1, []))
    while_paused = runner.run(laid_out.shares())["bolt"]
    runner.run(Limits().set_tenant(laid_out.connection, "bolt", paused=False))
    runner.run(laid_out.claim(1, []))

    charged, active = runner.run(laid_out.shares())["bolt"]
    assert (while_paused, active) == ((0, False), True)
    assert charged >= DAY


def test_neither_a_pause_nor_a_limit_holds_the_start_of_who_comes_new_down(scene: Any) -> None:
    runner, laid_out = scene
    kept_away = {
        "nothing": Tenant(name="bolt", here_max=0, waiting=jobs(10)),
        "as many as run": Tenant(name="bolt", live=2, here_max=2, waiting=jobs(10)),
        "over all queues": Tenant(name="bolt", over_all_max=0, waiting=jobs(10)),
        "paused": Tenant(name="bolt", paused=True, waiting=jobs(10)),
    }
    starts = {}

    for reason, tenant in kept_away.items():
        there = Tenant(name="acme", charged=DAY, waiting=jobs(1))
        new = Tenant(name="core", active=False, waiting=jobs(11))
        runner.run(laid_out.lay_out([tenant, there, new], None))
        runner.run(laid_out.claim(1, []))
        starts[reason] = runner.run(laid_out.shares())["core"][0]

    assert starts == dict.fromkeys(kept_away, DAY)


def test_who_is_at_its_limit_is_lifted_no_further_for_what_its_other_runs_took_so_far(scene: Any) -> None:
    runner, laid_out = scene
    back = Tenant(name="bolt", live=1, age=DAY / 2, here_max=2, active=False, waiting=jobs(10))
    runner.run(laid_out.lay_out([back, Tenant(name="acme", charged=DAY, waiting=jobs(1))], None))

    runner.run(laid_out.claim(1, []))

    charged, _ = runner.run(laid_out.shares())["bolt"]
    assert DAY / 2 - 60 < charged <= DAY / 2


def test_full_keys_of_some_cost_another_tenant_no_slot(scene: Any) -> None:
    runner, laid_out = scene
    claims = {}

    for full in (1, 2, 5, 12):
        keyed = [Tenant(name=f"a{n:02}", waiting=jobs(10 * n + 10, 2, key="k")) for n in range(full)]
        other = Tenant(name="bolt", live=1, charged=DAY, waiting=jobs(1, 3))
        runner.run(laid_out.lay_out([*keyed, other], None))
        runner.run(laid_out.run_elsewhere([tenant.waiting[0].number for tenant in keyed]))
        claims[full] = [runner.run(laid_out.claim(slots, [])) for slots in (1, 2)]

    assert claims == {full: [{1}, {2, 3}] for full in claims}


def test_a_run_that_has_ended_counts_for_limits_until_that_is_written_and_not_for_the_choice(scene: Any) -> None:
    runner, laid_out = scene
    short = Tenant(name="acme", live=1, ended=1, waiting=jobs(1, 2))
    long = Tenant(name="bolt", charged=0.1, waiting=jobs(10, 2))
    limited = Tenant(name="acme", live=1, ended=1, here_max=1, waiting=jobs(1, 2))

    runner.run(laid_out.lay_out([short, long], None))
    chosen = runner.run(laid_out.claim(1, []))
    runner.run(laid_out.lay_out([limited, long], None))
    beside_limit = runner.run(laid_out.claim(4, []))
    runner.run(laid_out.lay_out([short, long], 2))
    on_a_full_queue = runner.run(laid_out.claim(4, []))

    assert (chosen, beside_limit, on_a_full_queue) == ({1}, {10, 11}, {1})


def test_the_time_of_a_run_that_has_ended_is_not_counted_beside_its_charge(scene: Any) -> None:
    runner, laid_out = scene
    ended = Tenant(name="acme", live=1, ended=1, age=DAY, waiting=jobs(1))
    spent = Tenant(name="bolt", charged=DAY / 2, waiting=jobs(10))
    runner.run(laid_out.lay_out([ended, spent], None))

    claimed = runner.run(laid_out.claim(1, []))

    assert claimed == {1}


def test_ids_of_runs_that_nobody_knows_change_nothing(scene: Any) -> None:
    runner, laid_out = scene
    runner.run(
        laid_out.lay_out([Tenant(name="acme", live=1, waiting=jobs(1)), Tenant(name="bolt", waiting=jobs(2))], None)
    )
    laid_out.ended = [UUID(int=1), UUID(int=77)]

    claimed = runner.run(laid_out.claim(1, []))

    assert claimed == {2}
