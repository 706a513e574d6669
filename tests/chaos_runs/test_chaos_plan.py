"""A seed is a schedule: the same one twice, another one for another seed, and every kind of fault in it."""

from chaos.plan import DECK, Kind, Plan, draw


def drawn(seed: int) -> Plan:
    return draw(seed, seconds=120.0, jobs=600, daemons=2, lease=3.0, pause=2.0)


def test_a_seed_gives_the_same_faults_and_jobs_again() -> None:
    assert drawn(7) == drawn(7)
    assert drawn(7).groups == drawn(7).groups


def test_another_seed_gives_other_faults_and_jobs() -> None:
    assert drawn(7).faults != drawn(8).faults
    assert drawn(7).groups != drawn(8).groups


def test_each_kind_of_fault_is_in_the_first_deck() -> None:
    plan = drawn(7)

    assert {fault.kind for fault in plan.faults[: len(DECK)]} == set(Kind)
    assert plan.jobs == 600
    assert all(0 <= fault.place < 2 and fault.at < 120 for fault in plan.faults)


def test_what_only_a_stop_ends_is_stopped() -> None:
    lingering = [
        submission for group in drawn(7).groups for submission in group if "Linger" in submission.job["job_class"]
    ]

    assert lingering
    assert all(submission.stop_after is not None and not submission.by_message for submission in lingering)
