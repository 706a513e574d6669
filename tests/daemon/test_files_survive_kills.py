"""Files that jobs with steps write are byte for byte those of an undisturbed run, however often daemons are killed."""

import random
import signal
from pathlib import Path

from daemons import Books, Processes, until

from jobservice.batch import Checksum
from jobservice.batch.stores import Place

ROWS = 20_000
COMMITS = 2 * ROWS // 150
WATCHFUL = {"daemon__lease": 2.0, "daemon__heartbeat": 0.3, "daemon__max_lost_runs": 10}


async def test_a_copy_of_20_000_rows_survives_three_kills_byte_for_byte(
    processes: Processes, books: Books, tmp_path: Path
) -> None:
    rows = [f'{n},"a\n""{n}"", b"\n' if n % 7 == 0 else f"{n},plain {n}\n" for n in range(ROWS)]
    (tmp_path / "source.csv").write_text("No,text\n" + "".join(rows))
    job_id = await books.submit("CopiesFiles", {"directory": str(tmp_path)})

    moments = sorted(random.sample(range(1, COMMITS - 10), 3))
    for moment in moments:
        daemon = await processes.start(**WATCHFUL)
        await commits(books, moment)
        daemon.send(signal.SIGKILL)
        await daemon.ended()
    await processes.start(**WATCHFUL)

    job = await books.is_in(job_id, "SUCCEEDED", "FAILED", "ABORTED")
    assert job["status"] == "SUCCEEDED", (moments, job["error_message"])
    assert (tmp_path / "copied.csv").read_bytes() == (tmp_path / "source.csv").read_bytes(), moments
    Checksum("md5").verify(Place.of(tmp_path / "copied.csv"))
    written = "SELECT sum(written) FROM jobservice.step_execution WHERE step = $1 AND part BETWEEN $2 AND $3"
    assert await books.value(written, "whole", -1, -1) == ROWS
    assert await books.value(written, "parts", 0, 3) == ROWS
    files = {path.name for path in tmp_path.iterdir() if path.suffix != ".log" and path.is_file()}
    assert files == {"source.csv", "middle.tsv", "copied.csv", "copied.csv.md5"}


async def commits(books: Books, count: int) -> None:
    """Waits until so many chunks are committed."""

    async def enough() -> bool:
        query = "SELECT coalesce(sum(commits), 0) >= $1 FROM jobservice.step_execution"
        return bool(await books.value(query, count))

    await until(enough, f"{count} commits")
