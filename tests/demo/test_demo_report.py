"""What the viewer reads: aligned and plain in a pipe, whole on a narrow terminal, a failed check not overlooked."""

import io
import sys
from collections.abc import Callable

import pytest
from records import good_record
from rich.console import Console

from jobservice.demo import report
from jobservice.demo.checks import judged
from jobservice.demo.display import Bars, Lines
from jobservice.demo.folding import folded
from jobservice.demo.plan import TENANTS
from jobservice.demo.record import Record
from jobservice.demo.report import print_last_line, print_report
from jobservice.demo.summary import Summary, summed_up
from jobservice.domain.states import JobStatus

Terminal = Callable[[int], io.StringIO]


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    def of_width(columns: int) -> io.StringIO:
        out = FakeTerminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(
            report,
            "Console",
            lambda highlight: Console(file=out, width=columns, highlight=highlight, color_system=None),
        )
        return out

    return of_width


def summary_of(record: Record) -> Summary:
    return summed_up(record, judged(record))


def failed_record() -> Record:
    record = good_record()
    record.workspace.append("a file that is left")
    return record


def test_in_a_pipe_there_is_no_escape_code_and_each_check_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    summary = summary_of(good_record())

    print_report(summary)
    print_last_line(summary, 3.2)

    lines = capsys.readouterr().out.splitlines()
    assert "\x1b" not in "".join(lines)
    assert sum(line.startswith("✓ ") for line in lines) == len(summary.checks)
    assert lines[-1].startswith(f"{len(summary.checks)} of {len(summary.checks)} checks hold: 43 jobs, ")
    assert len({len(line) for line in lines[1:6]}) == 1


def test_a_check_that_does_not_hold_says_so_and_what_speaks_against_it(capsys: pytest.CaptureFixture[str]) -> None:
    summary = summary_of(failed_record())

    print_report(summary)
    print_last_line(summary, 3.2)

    told = capsys.readouterr().out
    assert not summary.ok
    assert "✗ the workspace directory is empty: a file that is left" in told
    assert "12 of 13 checks hold" in told


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_is_longer_than_the_terminal_is_wide_and_no_word_is_cut(terminal: Terminal, columns: int) -> None:
    out = terminal(columns)
    summary = summary_of(failed_record())

    print_report(summary)
    print_last_line(summary, 3.2)

    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    words = " ".join(out.getvalue().split())
    assert all(check.claim in words for check in summary.checks)
    assert all(tenant in words for tenant in TENANTS)


def test_where_the_encoding_has_no_signs_there_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))

    print_report(summary_of(failed_record()))

    sys.stdout.flush()
    told = raw.getvalue().decode("ascii")
    assert "ok every job has exactly one final status" in told
    assert "NO the workspace directory is empty" in told


def test_the_document_has_all_figures_checks_and_jobs() -> None:
    record = failed_record()

    document = summary_of(record).document(record, 3.2)

    assert document["ok"] is False
    assert [check["holds"] for check in document["checks"]].count(False) == 1
    assert document["total"]["jobs"] == len(document["jobs"]) == 43
    assert document["events"] == len(record.events)
    assert {row["tenant"] for row in document["tenants"]} == set(TENANTS)


def test_events_are_counted_once_however_often_they_came() -> None:
    record = good_record()
    events = len(record.events)
    record.events += record.events[:7]

    assert summary_of(record).events == events


def test_steps_and_events_in_a_pipe_are_lines_without_escape_codes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    failed = next(event for event in good_record().events if event.status is JobStatus.FAILED)

    with lines:
        lines.say("a step")
        lines.event(failed)

    told = capsys.readouterr().err.splitlines()
    assert told[0].endswith("  a step")
    assert failed.error is not None
    assert told[1].endswith(failed.error["message"])
    assert "\x1b" not in "".join(told)


@pytest.mark.parametrize("columns", [60, 100])
def test_the_bars_reach_their_ends_and_what_failed_stays_to_be_read(columns: int) -> None:
    out = io.StringIO()
    record = good_record()
    jobs = {tenant: sum(row.tenant == tenant for row in record.rows.values()) for tenant in TENANTS}
    bars = Bars(Console(file=out, width=columns, force_terminal=True, no_color=True, color_system=None))

    with bars:
        bars.expect(jobs)
        for event in record.events:
            bars.event(event)

    last_screen = out.getvalue().split("\r")[-1]
    assert all(f"{jobs[tenant]}/{jobs[tenant]}" in last_screen for tenant in TENANTS)
    assert "parameter 'root' is missing" in " ".join(out.getvalue().split())


def test_folding_keeps_every_word_and_hangs_what_follows() -> None:
    line = "  0.779    cygnus     FAILED     ReadAnswer    no number: invalid literal for int() with base 10"

    lines = folded(line, 60, 22).splitlines()

    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines).split()) == " ".join(line.split())
    assert all(each.startswith(" " * 22) for each in lines[1:])
    assert folded("short", 60, 22) == "short"
