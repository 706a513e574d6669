"""ChecksumTree on real trees, the running interpreter's own library among them."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobservice import JobStatus
from jobservice.testing import JobTestResult, arun_job, run_job
from workers.checksum_tree import PIECE, ChecksumReport, ChecksumTree

LIBRARY = Path(json.__file__).parent.parent / "asyncio"


def report_of(told: JobTestResult) -> ChecksumReport:
    assert told.status == JobStatus.SUCCEEDED, told.error
    return told.result_as(ChecksumReport)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_file_of_the_interpreters_library_is_in_the_manifest() -> None:
    told = run_job(ChecksumTree, root=LIBRARY)

    report = report_of(told)
    files = [path for path in LIBRARY.rglob("*") if path.is_file() and not path.is_symlink()]
    assert report.manifest == {path.relative_to(LIBRARY).as_posix(): sha256(path) for path in files}
    assert (report.count, report.bytes) == (len(files), sum(path.stat().st_size for path in files))
    assert report.errors == {}
    assert (told.progress.done, told.progress.total, told.progress.percent) == (len(files), len(files), 100)


def test_the_manifest_agrees_with_another_program(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(3 * PIECE + 17))
    (tmp_path / "empty").touch()
    program = "import hashlib,sys; print(hashlib.md5(open(sys.argv[1],'rb').read()).hexdigest())"
    foreign = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "large"], capture_output=True, text=True, check=True
    )

    report = report_of(run_job(ChecksumTree, root=tmp_path, algorithm="md5"))

    assert report.manifest == {"large": foreign.stdout.strip(), "empty": hashlib.md5(b"").hexdigest()}


def test_names_that_are_not_utf8_are_told_apart_and_can_be_stored(tmp_path: Path) -> None:
    names = [b"caf\xe9", b"caf\xe8", "café".encode(), b"line\nbreak", b"back\\slash", b"\xff\\xff"]
    for name in names:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(name)

    report = report_of(run_job(ChecksumTree, root=tmp_path))

    assert report.count == len(names)
    assert set(report.manifest) == {"caf\\xe9", "caf\\xe8", "café", "line\nbreak", "back\\slash", "\\xff\\\\xff"}


def test_links_are_not_followed_and_pipes_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")

    report = report_of(run_job(ChecksumTree, root=tmp_path))

    assert list(report.manifest) == ["file"]
    assert report.errors == {}


async def test_files_that_vanish_or_change_their_kind_are_listed_under_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kept", "vanishes", "becomes_a_link", "becomes_a_pipe"):
        (tmp_path / name).write_text(name)

    def meddle(progress: object) -> bool:
        # The job announces its count between finding the files and reading them.
        for name in ("vanishes", "becomes_a_link", "becomes_a_pipe"):
            (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / "becomes_a_link").symlink_to(tmp_path / "kept")
        os.mkfifo(tmp_path / "becomes_a_pipe")
        return False

    done: list[bool] = []
    told = await arun_job(
        ChecksumTree, root=tmp_path, stop_when=lambda p: False if done else bool(done.append(meddle(p)))
    )

    report = report_of(told)
    assert list(report.manifest) == ["kept"]
    assert set(report.errors) == {"vanishes", "becomes_a_link", "becomes_a_pipe"}
    assert told.progress.percent == 100


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_listed_under_errors(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a")
    (tmp_path / "secret").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)

    report = report_of(run_job(ChecksumTree, root=tmp_path))

    assert set(report.errors) == {"secret", "closed"}


@pytest.mark.parametrize("algorithm", ["sha0", "", "shake_128", "sha256\x01"])
def test_an_algorithm_without_a_fixed_digest_fails_naming_those_there_are(tmp_path: Path, algorithm: str) -> None:
    told = run_job(ChecksumTree, root=tmp_path, algorithm=algorithm)

    assert told.status == JobStatus.FAILED
    assert "sha256" in (told.error or "")


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_is_no_directory_fails(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()

    told = run_job(ChecksumTree, root=tmp_path / kind)

    assert told.status == JobStatus.FAILED
    assert kind in (told.error or "")


def test_an_empty_tree_has_an_empty_manifest(tmp_path: Path) -> None:
    assert report_of(run_job(ChecksumTree, root=tmp_path)).count == 0


def test_a_stop_ends_it_between_two_files() -> None:
    told = run_job(ChecksumTree, root=LIBRARY, stop_when=lambda progress: progress.done == 2)

    assert told.status == JobStatus.ABORTED
    assert told.progress.done == 2


async def test_the_event_loop_goes_on_while_a_large_file_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(400 * PIECE)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    report = report_of(await arun_job(ChecksumTree, root=tmp_path))
    counting.cancel()

    assert report.bytes == 400 * PIECE
    assert turns > 100
