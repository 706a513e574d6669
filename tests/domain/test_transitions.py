"""The table of legal status changes, word for word: the law that the SQL is compared with."""

import pytest

from jobservice.domain.states import FINAL, LIVE, WAITING, JobStatus
from jobservice.domain.transitions import TRANSITIONS, Verb, is_legal, targets

LAW = """
PENDING    enqueue    QUEUED
PENDING    stop       ABORTED
PENDING    expire     FAILED
QUEUED     claim      TO_BE_RUN
QUEUED     stop       ABORTED
QUEUED     expire     FAILED
TO_BE_RUN  start      RUNNING
TO_BE_RUN  finish     FAILED ABORTED
TO_BE_RUN  hand_back  QUEUED ABORTED
TO_BE_RUN  rescue     QUEUED ABORTED FAILED
TO_BE_RUN  stop       TO_BE_RUN
RUNNING    finish     SUCCEEDED FAILED ABORTED
RUNNING    retry      PENDING QUEUED ABORTED
RUNNING    park       PENDING ABORTED
RUNNING    hand_back  QUEUED ABORTED
RUNNING    rescue     QUEUED ABORTED FAILED
RUNNING    stop       RUNNING
FAILED     restart    QUEUED PENDING
ABORTED    restart    QUEUED PENDING
"""
LEGAL = {
    (JobStatus(words[0]), Verb(words[1])): frozenset(map(JobStatus, words[2:]))
    for words in (line.split() for line in LAW.strip().splitlines())
}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("status", JobStatus)
def test_each_verb_leads_from_each_status_where_the_law_says_and_nowhere_else(status: JobStatus, verb: Verb) -> None:
    assert targets(status, verb) == LEGAL.get((status, verb), frozenset())
    assert is_legal(status, verb) is ((status, verb) in LEGAL)


def test_nothing_but_a_restart_leaves_a_final_status_and_nothing_at_all_leaves_success() -> None:
    leaving = {(status, verb) for status, verb in TRANSITIONS if status.final}

    assert leaving == {(JobStatus.FAILED, Verb.RESTART), (JobStatus.ABORTED, Verb.RESTART)}


def test_each_status_waits_lives_or_has_ended() -> None:
    assert sorted([*WAITING, *LIVE, *FINAL]) == sorted(JobStatus)
    assert {status for status in JobStatus if status.final} == FINAL
