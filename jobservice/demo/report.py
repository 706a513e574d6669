"""The summary for a person, on stdout: a table of the tenants, the checks, one last line. Aligned, plain when piped."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from jobservice.demo.checks import Check
from jobservice.demo.folding import folded
from jobservice.demo.summary import Summary, TenantFigures

_HEAD = ("tenant", "jobs", "succeeded", "failed", "aborted", "wait p50", "wait max", "files", "MB")
_LAYOUTS: Sequence[tuple[int, frozenset[str]]] = (
    (3, frozenset()),
    (2, frozenset()),
    (2, frozenset({"MB"})),
    (2, frozenset({"MB", "wait p50"})),
)
"""Blanks between columns, and the columns left out: the first layout that fits the terminal is taken, else the last."""


def print_report(summary: Summary) -> None:
    """Everything but the last line, which knows the time it took to stop, too."""
    paper = _Paper()
    paper.write("")
    head, *rows = _table([_HEAD, *(_cells(figures) for figures in (*summary.tenants, summary.total))], paper.width)
    paper.write(head, "bold")
    for row in rows[:-1]:
        paper.write(row)
    paper.write(rows[-1], "dim")
    paper.write("")
    for check in summary.checks:
        paper.write(_told(check), None if check.holds else "bold red", mark=True)
    paper.write("")


def print_last_line(summary: Summary, seconds: float) -> None:
    """What it comes to."""
    holding = sum(check.holds for check in summary.checks)
    total = summary.total
    _Paper().write(
        f"{holding} of {len(summary.checks)} checks hold: {total.jobs} jobs, {summary.events} events, "
        f"{total.files:,} files ({total.bytes / 1e6:.0f} MB) in {summary.work_seconds:.1f} s; "
        f"with servers and all {seconds:.1f} s",
        "bold green" if summary.ok else "bold red",
    )


def _cells(figures: TenantFigures) -> Sequence[str]:
    return (
        figures.tenant,
        str(figures.jobs),
        str(figures.succeeded),
        str(figures.failed),
        str(figures.aborted),
        _milliseconds(figures.wait_p50),
        _milliseconds(figures.wait_max),
        f"{figures.files:,}",
        f"{figures.bytes / 1e6:.1f}",
    )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _table(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """One line for each row; all columns where no width is given."""
    lines: list[str] = []
    for gap, left_out in _LAYOUTS:
        kept = [place for place, name in enumerate(_HEAD) if name not in left_out]
        widths = [max(len(row[place]) for row in rows) for place in kept]
        lines = [_line([row[place] for place in kept], widths, gap) for row in rows]
        if width is None or len(lines[0]) <= width:
            break
    return lines


def _line(cells: Iterable[str], widths: Sequence[int], gap: int) -> str:
    padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    padded[0] = padded[0].strip().ljust(widths[0])
    return (" " * gap).join(padded)


def _told(check: Check) -> str:
    mark = "✓" if check.holds else "✗"
    return f"{mark} {check.claim}" + (f" ({check.detail})" if check.detail and check.holds else _against(check))


def _against(check: Check) -> str:
    return f": {check.detail}" if check.detail else ""


class _Paper:
    """Standard output: a terminal with colours and a width, or anything else, plain, each line as long as it is."""

    def __init__(self) -> None:
        self._console = Console(highlight=False) if sys.stdout.isatty() else None
        self._encoding = sys.stdout.encoding or "utf-8"

    @property
    def width(self) -> int | None:
        return self._console.width if self._console else None

    def write(self, line: str, style: str | None = None, *, mark: bool = False) -> None:
        """One line; with `mark` its first character is green where nothing else is styled."""
        line = self._sayable(line)
        if self._console is None:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            return
        text = Text(folded(line, self._console.width, 2), style=style or "")
        if mark and style is None:
            text.stylize("green", 0, 1)
        self._console.print(text)

    def _sayable(self, line: str) -> str:
        """In ASCII words where the terminal's encoding has no such signs."""
        try:
            "✓✗→".encode(self._encoding)
        except (UnicodeEncodeError, LookupError):
            for special, plain in (("✓", "ok"), ("✗", "NO"), ("→", "->")):
                line = line.replace(special, plain)
        return line.encode(self._encoding, "backslashreplace").decode(self._encoding)
