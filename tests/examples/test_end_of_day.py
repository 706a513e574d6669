"""The end of day is run by its one command, as its README says."""

import csv
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

from jobservice.batch import Checksum
from jobservice.batch.stores import Place

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "end_of_day"


def test_the_end_of_day_makes_6_000_plans_in_key_order_and_delivers_them(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}

    ended = subprocess.run(
        [sys.executable, "examples/end_of_day/run.py", "--directory", str(tmp_path)],
        cwd=ROOT, env=clean, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stdout + ended.stderr + (tmp_path / "daemon.log").read_text()[-3000:]
    delivered = tmp_path / "archive" / "plans-20261120.csv"
    assert "6,500 rows are in the tables, 0 were written in vain" in ended.stderr
    assert ended.stdout == f"SUCCEEDED: 6000 plans in {delivered}\n"
    with delivered.open() as file:
        plans = list(csv.DictReader(file))
    assert [(int(plan["Loan"]), int(plan["Term"])) for plan in plans] == [
        (loan, term) for loan in range(1, 501) for term in range(1, 13)
    ]
    first = {"Loan": "1", "Term": "1", "Full name": "Muster, Max 01", "Due": "20260201", "Amount": "7.60"}
    assert plans[0] == first
    assert sum(Decimal(plan["Amount"]) for plan in plans[:12]) == Decimal("91.19")
    Checksum("md5").verify(Place.of(delivered))
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        "users.csv", "trades.tsv", "daemon.log", "plans.csv", "plans.csv.md5",
        "archive/plans-20261120.csv", "archive/plans-20261120.csv.md5",
    }  # fmt: skip


def test_the_files_of_the_example_are_those_that_its_generator_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(EXAMPLE / "make_input.py"), str(tmp_path)], check=True, timeout=60)

    for name in ("users.csv", "trades.tsv"):
        assert (tmp_path / name).read_bytes() == (EXAMPLE / "data" / name).read_bytes()
