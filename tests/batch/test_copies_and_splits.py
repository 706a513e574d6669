"""Files copied between stores, and cut into several."""

from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from seen import seen

from jobservice.batch import Checksum, ChecksumMismatch, CsvReader, FileLost, copy, split
from jobservice.batch.stores import Place
from jobservice.domain.errors import DefinitionError
from jobservice.sdk.steps import Range


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "plans.csv").write_text("a\n" + "x\n" * 100)
    return tmp_path / "plans.csv"


def test_a_file_is_copied_to_another_store_under_a_dated_name_with_its_checksum(source: Path) -> None:
    Checksum("sha512").write(Place.of(source))
    context = seen(day=date(2026, 11, 20))

    told = copy(source, "memory://archive/plans-{day:%Y%m%d}.csv", checksum=Checksum("sha512"))(context)

    assert told.endswith("plans-20261120.csv: 202 bytes")
    store = fsspec.filesystem("memory")
    assert store.cat("/archive/plans-20261120.csv") == source.read_bytes()
    assert sorted(store.ls("/archive", detail=False)) == [
        "/archive/plans-20261120.csv", "/archive/plans-20261120.csv.sha512"
    ]  # fmt: skip
    Checksum("sha512").verify(Place.of("memory://archive/plans-20261120.csv"))


class Doors(MemoryFileSystem):
    """A store that opens with the password of the side that asks."""

    protocol = "doors"
    cachable = False
    opened: ClassVar[list[str]] = []

    def __init__(self, *, password: str, **more: Any) -> None:
        super().__init__(**more)
        self.opened.append(password)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("doors://", "memory://"))


def test_each_side_of_a_copy_is_opened_with_its_own_options() -> None:
    fsspec.register_implementation("doors", Doors, clobber=True)
    Doors.opened.clear()
    fsspec.filesystem("memory").pipe("/in/plans.csv", b"a")

    run = copy(
        "doors://in/plans.csv", "doors://out/plans.csv",
        source_options={"password": "of the source"}, target_options={"password": "of the target"},
    )  # fmt: skip
    run(seen())

    assert Doors.opened == ["of the source", "of the target"]
    assert fsspec.filesystem("memory").cat("/out/plans.csv") == b"a"


def test_a_source_that_is_not_what_its_checksum_says_is_not_copied(source: Path) -> None:
    Checksum("md5").write(Place.of(source))
    source.write_text("changed")

    with pytest.raises(ChecksumMismatch):
        copy(source, source.with_name("copy.csv"), checksum=Checksum("md5"))(seen())

    assert not source.with_name("copy.csv").exists()


@pytest.mark.parametrize("store", ["local", "memory"])
def test_a_copy_that_differs_never_has_the_name(source: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    target = f"{source.parent}/there/copy.csv" if store == "local" else f"memory://{source.parent}/there/copy.csv"
    monkeypatch.setattr("jobservice.batch.copying.digest", lambda place, kind: "another")

    with pytest.raises(ChecksumMismatch, match="the copy's"):
        copy(source, target)(seen())

    place = Place.of(f"{target}/..".replace("/copy.csv/..", ""))
    assert not Place.of(target).exists()
    assert place.children() == []


@pytest.mark.parametrize("store", ["local", "memory"])
def test_a_file_that_could_not_be_written_leaves_what_was_there(tmp_path: Path, store: str) -> None:
    place = Place.of(f"{tmp_path}/d/a.csv" if store == "local" else f"memory://{tmp_path}/d/a.csv")
    place.put(b"old")

    with pytest.raises(RuntimeError), place.written() as stream:
        stream.write(b"half of the ne")
        raise RuntimeError

    assert b"".join(place.blocks()) == b"old"
    assert len(Place.of(f"{tmp_path}/d" if store == "local" else f"memory://{tmp_path}/d").children()) == 1


def test_what_is_not_there_cannot_be_copied(tmp_path: Path) -> None:
    with pytest.raises(FileLost, match="there is no file"):
        copy(tmp_path / "none", tmp_path / "copy")(seen())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [0, 1, 3, 20, 25])
def test_the_files_of_a_split_have_a_header_each_and_together_all_records(tmp_path: Path, number: int) -> None:
    rows = [f'{n},"a\n""b"\n' for n in range(number)]
    (tmp_path / "all.csv").write_text("n,text\n" + "".join(rows))

    split(CsvReader(tmp_path / "all.csv"), f"{tmp_path}/in-{{part:02d}}.csv", parts=10)(seen())
    reader = CsvReader(tmp_path / "in-{part:02d}.csv")
    ranges = reader.plan(seen(), 10)
    found: list[Any] = []
    for index in range(10):
        found += [at.item["n"] for at in reader.read(seen().part(index, ranges), None)]

    assert ranges == [Range()] * 10
    assert found == [str(n) for n in range(number)]
    assert len(list(tmp_path.iterdir())) == 11
    with pytest.raises(DefinitionError, match="part"):
        split(reader, "one.csv", parts=2)


def test_a_split_is_refused_where_a_parameter_of_the_job_makes_all_names_one(source: Path) -> None:
    with pytest.raises(DefinitionError, match="need names of their own"):
        split(CsvReader(source), f"{source.parent}/in-{{n}}.csv", parts=3)(seen(n=25))

    assert [path.name for path in source.parent.iterdir()] == ["plans.csv"]
