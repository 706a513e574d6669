"""Writes users.csv (20 users) and trades.tsv (as many as asked for) into a directory; the same each time.

    python examples/end_of_day/make_input.py DIRECTORY [TRADES]

Names and notes have what files must survive: commas, quotes, tabs, newlines.
"""

import csv
import sys
from datetime import date, timedelta
from pathlib import Path

USERS = 20
NOTES = ("", "as agreed", 'he said "yes"', "first line\nsecond line", "a\ttab", "Zürich")


def make(directory: Path, trades: int) -> None:
    """Both files."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "users.csv").open("w", encoding="utf-8", newline="") as file:
        users = csv.writer(file, lineterminator="\n")
        users.writerow(["User", "Full name", "City"])
        users.writerows(
            [number, f"Muster, Max {number:02d}", "Zürich" if number % 3 else ""] for number in range(USERS)
        )
    with (directory / "trades.tsv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        for loan in range(1, trades + 1):
            day = date(2026, 1, 1) + timedelta(days=loan % 300)
            amount = f"{(loan * 7919) % 1_000_000 / 100 + 12:.2f}"
            rows.writerow([loan, loan % USERS, f"{day:%d.%m.%Y}", amount, NOTES[loan % len(NOTES)]])


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500)
