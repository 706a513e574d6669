"""UploadTile into stores in a directory and in memory."""

import hashlib
import os
from pathlib import Path
from uuid import uuid4

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from jobservice import JobStatus
from jobservice.testing import JobTestResult, run_job
from workers.upload_tile import UploadReport, UploadTile


@pytest.fixture
def tile(tmp_path: Path) -> Path:
    file = tmp_path / "0-1.png"
    file.write_bytes(b"a tile")
    return file


@pytest.fixture(params=["directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/store/maps" if request.param == "directory" else f"memory://maps-{uuid4().hex}"


def report_of(told: JobTestResult) -> UploadReport:
    assert told.status == JobStatus.SUCCEEDED, told.error
    return told.result_as(UploadReport)


def test_a_tile_is_there_under_its_own_name_or_another(tile: Path, store: str) -> None:
    own = report_of(run_job(UploadTile, file=tile, store=store))
    other = report_of(run_job(UploadTile, file=tile, store=store + "/", name="rows/1/0.png"))

    digest = hashlib.sha256(b"a tile").hexdigest()
    assert own.path.endswith("/0-1.png")
    assert other.path == own.path.replace("0-1.png", "rows/1/0.png")
    assert {(each.bytes, each.sha256, each.uploaded) for each in (own, other)} == {(6, digest, True)}
    assert [content_of(each.path) for each in (own, other)] == [b"a tile", b"a tile"]


def test_what_is_there_with_the_same_content_is_not_written_again(
    tile: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = report_of(run_job(UploadTile, file=tile, store=store))
    for kind in (LocalFileSystem, MemoryFileSystem):
        monkeypatch.setattr(kind, "put_file", lambda *a, **k: pytest.fail("it was written"))

    again = report_of(run_job(UploadTile, file=tile, store=store))

    assert (first.uploaded, again.uploaded) == (True, False)


@pytest.mark.parametrize("other", [b"b tile", b"a longer tile", b""])
def test_what_is_there_with_another_content_is_replaced(tile: Path, store: str, other: bytes) -> None:
    path = report_of(run_job(UploadTile, file=tile, store=store)).path
    tile.write_bytes(other)

    again = report_of(run_job(UploadTile, file=tile, store=store))

    assert (again.path, again.uploaded, content_of(path)) == (path, True, other)


def test_an_upload_to_a_directory_that_breaks_off_leaves_what_was_there(
    tile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    run_job(UploadTile, file=tile, store=str(store))
    tile.write_bytes(b"another tile")

    def break_off(self: object, source: str, target: str) -> None:
        Path(target).write_bytes(b"ano")
        raise OSError("No space left on device")

    monkeypatch.setattr(LocalFileSystem, "put_file", break_off)
    ended = run_job(UploadTile, file=tile, store=str(store))

    assert (ended.status, "No space left" in (ended.error or "")) == (JobStatus.FAILED, True)
    assert {file.name: file.read_bytes() for file in store.iterdir()} == {"0-1.png": b"a tile"}


def test_in_a_stage_uploads_and_those_that_were_skipped_are_counted(tile: Path, tmp_path: Path) -> None:
    store = {"$pipeline": "store"}
    data = {"store": os.fspath(tmp_path / "store")}

    first = run_job(UploadTile, pipeline_data=data, file=tile, store=store)
    again = run_job(UploadTile, pipeline_data=data, file=tile, store=store)

    assert first.stage_changes == [{"increment": "uploaded", "by": 1}]
    assert again.stage_changes == [{"increment": "skipped", "by": 1}]


@pytest.mark.parametrize(
    ("file", "store", "told"),
    [
        ("/nowhere/0-0.png", "/tmp", "/nowhere/0-0.png"),
        (__file__, "nosuchstore://maps", "nosuchstore"),
    ],
)
def test_a_file_or_a_kind_of_store_that_is_not_there_fails_naming_it(file: str, store: str, told: str) -> None:
    ended = run_job(UploadTile, file=file, store=store)

    assert ended.status == JobStatus.FAILED
    assert told in (ended.error or "")


@pytest.mark.parametrize("name", ["../other.png", "a/../../other.png", "/tmp/other.png"])
def test_a_name_that_would_leave_the_store_is_refused(tile: Path, tmp_path: Path, name: str) -> None:
    result = run_job(UploadTile, file=tile, store=f"file://{tmp_path}/store", name=name)

    assert result.status == JobStatus.FAILED
    assert f"{name!r} is outside of the store" in (result.error or "")


def test_an_empty_store_is_not_the_directory_of_the_daemon(tile: Path) -> None:
    assert "parameter 'store' is invalid" in (run_job(UploadTile, file=tile, store="").error or "")


def content_of(url: str) -> bytes:
    kind = MemoryFileSystem() if url.startswith("memory://") else LocalFileSystem()
    return bytes(kind.cat_file(url))
