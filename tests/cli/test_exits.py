"""Exit statuses: each error has one, several ids give the worst, and a user's mistake is no trace."""

from uuid import uuid4

import pytest
import typer

from jobservice.cli.exits import Exit, exit_of, told, worst
from jobservice.domain import errors

JOB_ID = uuid4()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UnknownJob(JOB_ID), 4),
        (errors.NotLegal(JOB_ID, "enqueue", "RUNNING"), 5),
        (errors.SchemaError("missing"), 6),
        (errors.DatabaseUnavailable("away"), 7),
        (errors.BrokerUnavailable("away"), 8),
        (errors.ConfigurationError("wrong"), 2),
        (errors.InvalidSubmission("wrong"), 2),
        (TimeoutError("late"), 124),
        (ZeroDivisionError("ours"), 70),
    ],
)
def test_each_error_has_the_exit_status_of_the_contract(error: Exception, code: int) -> None:
    assert exit_of(error) == code


def test_one_means_a_failed_job_or_not_all_well_and_no_error_ends_with_it() -> None:
    every = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]

    assert every
    assert [kind for kind in every if exit_of(kind.__new__(kind)) == Exit.FAILED] == []


@pytest.mark.parametrize(
    ("codes", "one"), [([], 0), ([4], 4), ([4, 5], 5), ([5, 6, 4], 6), ([7, 4], 7), ([4, 8, 7], 8)]
)
def test_several_ids_end_with_the_worst_exit_status(codes: list[int], one: int) -> None:
    assert worst(codes) == one


def test_a_mistake_is_told_on_stderr_line_by_line_without_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, told(debug=False):
        raise errors.ConfigurationError("one is wrong\ntwo is wrong")

    said = capsys.readouterr()
    assert caught.value.exit_code == 2
    assert said.err.splitlines() == ["jobservice: one is wrong", "jobservice: two is wrong"]
    assert said.out == ""


def test_debug_shows_the_trace_and_a_fault_of_ours_names_that_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), told(debug=False):
        raise ZeroDivisionError("ours")
    quiet = capsys.readouterr().err
    with pytest.raises(typer.Exit), told(debug=True):
        raise ZeroDivisionError("ours")

    assert "--debug" in quiet
    assert "Traceback" not in quiet
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_with_130() -> None:
    with pytest.raises(typer.Exit) as caught, told(debug=False):
        raise KeyboardInterrupt

    assert caught.value.exit_code == 130
