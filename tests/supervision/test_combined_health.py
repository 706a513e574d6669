"""What several workers say, told as one daemon would tell it."""

import re
from pathlib import Path
from typing import Any

from jobservice.supervision.health import combined

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def worker(**facts: Any) -> dict[str, Any]:
    well = {
        "ok": True,
        "pid": 1,
        "database": True,
        "broker": True,
        "running": 3,
        "capacity": 10,
        "workspace_full": False,
    }
    return well | {"outbox_age_seconds": 0.0, "queued": 7, "workspace_tenants_over": []} | facts


AWAITED = {"ok": False, "pid": None, "state": "restarting"}


def said(
    *workers: dict[str, Any], all_have_started: bool = True, draining: bool = False
) -> tuple[bool, dict[str, Any]]:
    return combined(workers, all_have_started=all_have_started, draining=draining)


def test_slots_are_added_ages_are_the_worst_and_what_all_see_is_seen_once() -> None:
    _, facts = said(worker(outbox_age_seconds=4.0), worker(running=2, workspace_tenants_over=["b", "a"]))

    assert (facts["running"], facts["capacity"], facts["outbox_age_seconds"], facts["queued"]) == (5, 20, 4.0, 7)
    assert facts["workspace_tenants_over"] == ["a", "b"]


def test_one_without_its_database_is_seen_and_the_other_keeps_all_ready() -> None:
    ready, facts = said(worker(), worker(ok=False, database=False))

    assert (ready, facts["ready"], facts["database"], facts["broker"]) == (True, 1, False, True)


def test_one_that_is_awaited_again_adds_nothing_and_takes_nothing_away() -> None:
    ready, facts = said(worker(), AWAITED)

    assert (ready, facts["ready"], facts["running"], facts["database"]) == (True, 1, 3, True)
    assert facts["workers"][1] == AWAITED


def test_without_any_that_is_ready_all_are_not() -> None:
    ready, facts = said(AWAITED, worker(ok=False))

    assert (ready, facts["ready"]) == (False, 0)


def test_a_rollout_waits_until_each_has_worked_once() -> None:
    assert said(worker(), AWAITED, all_have_started=False)[0] is False


def test_who_drains_is_not_ready() -> None:
    assert said(worker(), draining=True)[0] is False


def test_what_operators_watch_of_one_daemon_is_told_of_several() -> None:
    (table,) = re.findall(r"\| worth an alarm \| means \|\n\|---\|---\|\n((?:\|.*\n)+)", OPERATIONS.read_text())
    watched = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))

    assert watched - said(worker())[1].keys() == set()
