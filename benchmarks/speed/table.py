"""The rows of the table, what is aimed at, and how they are printed. Measures nothing."""

import statistics
import sys
from dataclasses import dataclass

from benchmarks.speed.figures import Figures, percentile


@dataclass(frozen=True)
class Row:
    """One line: the figures' key, its words, what must be reached and what is the goal."""

    key: str
    words: str
    must: str = ""
    goal: str = ""
    digits: int = 0
    percentiles: bool = False


def rows(capacity: int, default_capacity: int) -> list[Row]:
    """In their order. `confirmed`: until the last event is confirmed; `SUCCEEDED`: until the last row says so."""
    return [
        Row("confirmed all", f"drain confirmed, jobs/s, capacity {capacity}", "5,000", "10,000"),
        Row("succeeded all", "  SUCCEEDED in the database", "8,000", "18,000"),
        Row("confirmed default", f"drain confirmed, jobs/s, capacity {default_capacity} (default)"),
        Row("succeeded default", "  SUCCEEDED in the database"),
        Row("confirmed final", 'confirmed, events = "final", jobs/s', "8,000", "14,000"),
        Row("succeeded final", "  SUCCEEDED in the database"),
        Row("succeeded none", 'SUCCEEDED, events = "none", jobs/s', "10,000", "20,000"),
        Row("confirmed two", "two daemons, confirmed, jobs/s", "1.4 x one", "1.7 x one"),
        Row("confirmed processes", "daemon --processes 2, confirmed, jobs/s"),
        Row("bulk", "bulk submission, jobs/s", "30,000", "65,000"),
        Row("sql", "submissions by SQL, 10 at a time, /s, no daemon", "3,000", "4,200"),
        Row("sql running", "  by SQL, beside a daemon that runs them"),
        Row("amqp", "submissions by AMQP, 10 at a time, /s, no job runs", "2,500", "5,000"),
        Row("amqp running", "  by AMQP, beside a daemon that runs them"),
        Row("client", "  by the Python client over AMQP, no job runs"),
        Row("client running", "  by the Python client, beside one that runs them"),
        Row("start", "submit to RUNNING, idle, ms p50 / p99", "3 / 12", "1.5 / 4", 1, True),
        Row("event", "submit to RUNNING event, idle, ms p50 / p99", "6 / 25", "3 / 8", 1, True),
        Row("bare", "  a row, a NOTIFY and an UPDATE at that pace", "", "", 1, True),
        Row("stop", "stop to ABORTED, ms p50 / p99", "", "", 1, True),
        Row("load", "start at half the drain rate, ms p50 / p99", "- / 250", "- / 60", 1, True),
        Row("idle queries", "idle daemon, transactions/s", "3", "1", 2),
        Row("idle cpu", "idle daemon, % of a core", "0.5", "0.1", 2),
        Row("idle rss", "memory of a daemon, idle, MB", "90", "60", 0),
        Row("rss", "memory of a daemon, at full speed, MB", "150", "100", 0),
        Row("wal", "WAL a job with its events, bytes", "2,500", "1,500"),
        Row("cpu daemons", "processor time of the daemon, µs a job"),
        Row("cpu PostgreSQL", "processor time of PostgreSQL, µs a job"),
        Row("cpu RabbitMQ", "processor time of RabbitMQ, µs a job"),
    ]


def show(figures: Figures, lines: list[Row]) -> None:
    """Medians and spread, ratios of this run, and what was wrong."""
    print(f"  {'':48} {'median':>14} {'lowest to highest':>22}   {'must':>10} {'goal':>10}")
    for row in lines:
        if row.key in figures.values:
            middle, spread = _numbers(row, figures.values[row.key])
            print(f"  {row.words:48} {middle:>14} {spread:>22}   {row.must:>10} {row.goal:>10}".rstrip())
    for words, above, below in (
        ("confirmed : SUCCEEDED", "confirmed all", "succeeded all"),
        ("two daemons : one", "confirmed two", "confirmed all"),
        ("--processes 2 : one", "confirmed processes", "confirmed all"),
        ("default capacity : more slots", "confirmed default", "confirmed all"),
        ('events = "final" : all', "confirmed final", "confirmed all"),
        ('events = "none" : all', "succeeded none", "succeeded all"),
    ):
        if above in figures.values and below in figures.values:
            print(f"  {words:48} {figures.median(above) / figures.median(below):>14.2f}")
    for problem in figures.problems:
        print(f"WRONG: {problem}", file=sys.stderr)


def _numbers(row: Row, values: list[float]) -> tuple[str, str]:
    if row.percentiles:
        p50, p99 = statistics.median(values), percentile(values, 0.99)
        return f"{p50:,.{row.digits}f} / {p99:,.{row.digits}f}", f"of {len(values):,}"
    low, middle, high = (f"{each:,.{row.digits}f}" for each in (min(values), statistics.median(values), max(values)))
    return middle, f"{low} to {high}" if len(values) > 1 else ""
