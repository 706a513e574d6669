"""Output: the same data as lines and as JSON, and nothing in it that a terminal would obey."""

import json
import sys
from datetime import UTC, datetime
from uuid import UUID

import pytest

from jobservice.cli.output import Output, printable
from jobservice.domain.states import JobStatus

ROW = {
    "id": UUID(int=7),
    "status": JobStatus.FAILED,
    "created": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "big": 2**70,
    "tags": ["a", "b"],
    "none": None,
}


COLUMNS = ("job_id", "status", "reason")


def test_a_pipe_gets_one_line_a_row_with_tabs_between_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).rows([ROW], ["id", "status", "tags", "none"])

    lines = capsys.readouterr().out.splitlines()
    assert lines == ["id\tstatus\ttags\tnone", f"{UUID(int=7)}\tFAILED\ta, b\t"]


def test_json_has_all_fields_and_keeps_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).rows([ROW], ["id"])

    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "id": str(UUID(int=7)),
        "status": "FAILED",
        "created": "2026-01-31T12:00:00.000000Z",
        "big": 2**70,
        "tags": ["a", "b"],
        "none": None,
    }


def test_a_record_leaves_out_what_has_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).record(ROW)

    assert "none" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\rb", "a\nb", "a\tb", "a\x9bb"])
def test_a_cell_cannot_move_the_cursor_or_fake_a_line(text: str) -> None:
    shown = printable(text)

    assert shown.startswith("a")
    assert all(character.isprintable() for character in shown)


def test_a_narrow_terminal_breaks_the_lines_of_a_table_but_cuts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")

    Output(as_json=False).rows([{"job_id": UUID(int=7), "status": JobStatus.SUCCEEDED, "reason": "a b c"}], COLUMNS)

    shown = capsys.readouterr().out
    assert str(UUID(int=7)) in shown
    assert "SUCCEEDED" in shown
    assert "a b c" in shown
