"""The summary for a person, on stdout: a table of the tenants, the checks, one last line. Aligned, plain when piped."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from jobservice.demo.checks import Check
from jobservice.demo.summary import Summary, TenantFigures

_HEAD = ("tenant", "jobs", "succeeded", "failed", "aborted", "wait p50", "wait max", "files", "MB")


def print_report(summary: Summary) -> None:
    """Everything but the last line, which knows the time it took to stop, too."""
    rows = [_cells(figures) for figures in (*summary.tenants, summary.total)]
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    _write("")
    _write(_line(_HEAD, widths), "bold")
    for row in rows[:-1]:
        _write(_line(row, widths))
    _write(_line(rows[-1], widths), "dim")
    _write("")
    for check in summary.checks:
        _write(_told(check), None if check.holds else "bold red", mark=True)
    _write("")


def print_last_line(summary: Summary, seconds: float) -> None:
    """What it comes to."""
    holding = sum(check.holds for check in summary.checks)
    total = summary.total
    _write(
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


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    padded[0] = padded[0].strip().ljust(widths[0])
    return "   ".join(padded)


def _told(check: Check) -> str:
    mark = "✓" if check.holds else "✗"
    return f"{mark} {check.claim}" + (f" ({check.detail})" if check.detail and check.holds else _against(check))


def _against(check: Check) -> str:
    return f": {check.detail}" if check.detail else ""


def _write(line: str, style: str | None = None, *, mark: bool = False) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    if not _can_say("✓✗→", encoding):
        for special, plain in (("✓", "ok"), ("✗", "NO"), ("→", "->")):
            line = line.replace(special, plain)
        line = line.encode(encoding, "backslashreplace").decode(encoding)
    if not sys.stdout.isatty():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        return
    text = Text(line, style=style or "")
    if mark and style is None:
        text.stylize("green", 0, 1)
    Console(highlight=False).print(text, soft_wrap=True)


def _can_say(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
