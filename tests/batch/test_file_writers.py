"""Writers of files: what they write is read back, and after a failure goes on where it was committed, byte for byte."""

import ftplib
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from seen import seen

from jobservice.batch import (
    Checksum,
    Column,
    CsvReader,
    CsvWriter,
    FileLost,
    FixedWidthReader,
    FixedWidthWriter,
    JsonLinesReader,
    JsonLinesWriter,
    TsvReader,
    TsvWriter,
    merge,
)
from jobservice.domain.errors import DefinitionError
from jobservice.sdk.steps import Counts, Partition, PartResult, Range


class Plan(BaseModel):
    loan: Annotated[str, Column(name="Loan", width=12)]
    term: Annotated[date, Column(name="Due", width=10, format="%d.%m.%Y")]
    amount: Annotated[Decimal, Column(width=12)]
    done: Annotated[bool, Column(width=3, format="yes/no")] = False
    at: Annotated[datetime | None, Column(width=33)] = None


AT = datetime(2026, 1, 1, 2, 3, 4, 5, tzinfo=UTC)
PLANS = [
    Plan(loan="a", term=date(2026, 1, 2), amount=Decimal("1.50")),
    Plan(loan='a "b", c', term=date(2026, 2, 2), amount=Decimal(-7), done=True, at=AT),
    Plan(loan="", term=date(1999, 12, 31), amount=Decimal(0)),
]
KINDS = [
    (CsvWriter, CsvReader),
    (TsvWriter, TsvReader),
    (JsonLinesWriter, JsonLinesReader),
    (FixedWidthWriter, FixedWidthReader),
]


def written(writer: Any, items: list[Any], context: Any = None, size: int = 2) -> Any:
    context = context or seen()
    writer.open(context)
    for start in range(0, len(items), size):
        writer.write(context, items[start : start + size])
    writer.close(context)
    return context


def read(reader: Any, context: Any = None) -> list[Any]:
    return [at.item if at.error is None else at.error for at in reader.read(context or seen(), None)]


@pytest.mark.parametrize("store", ["local", "memory"])
@pytest.mark.parametrize(("writer", "reader"), KINDS)
@pytest.mark.parametrize("number", [0, 1, 3])
def test_what_is_written_is_read_back(tmp_path: Path, writer: Any, reader: Any, store: str, number: int) -> None:
    path = f"{tmp_path}/out/plans" if store == "local" else f"memory://{tmp_path}/plans"

    written(writer(path, Plan), PLANS[:number])

    assert read(reader(path, Plan)) == PLANS[:number]


def test_a_file_without_records_has_its_header(tmp_path: Path) -> None:
    written(CsvWriter(tmp_path / "a.csv", Plan), [])

    assert (tmp_path / "a.csv").read_text() == "Loan,Due,amount,done,at\n"


def test_plain_dicts_are_written_by_their_columns(tmp_path: Path) -> None:
    written(CsvWriter(tmp_path / "a.csv", columns=("b", "a")), [{"a": 1, "b": None}, {"a": 2.5, "b": True, "c": 0}])

    assert (tmp_path / "a.csv").read_text() == "b,a\n,1\ntrue,2.5\n"
    with pytest.raises(DefinitionError, match="columns"):
        CsvWriter(tmp_path / "b.csv")


def test_what_does_not_fit_into_a_width_or_an_encoding_is_refused(tmp_path: Path) -> None:
    wide = Plan(loan="x" * 13, term=date(2026, 1, 1), amount=Decimal(1))

    for writer in (
        FixedWidthWriter(tmp_path / "a.txt", Plan),
        CsvWriter(tmp_path / "a.csv", Plan, encoding="ascii"),
    ):
        context = seen()
        writer.open(context)
        before = deepcopy(context.state)
        with pytest.raises(ValueError, match=r"does not fit|ascii"):
            writer.write(context, [wide.model_copy(update={"loan": "é" * 13})])
        assert context.state == before


fields = st.text(st.sampled_from("ab ,;\t\"\n\r'\\é漢\x00\u2028"), max_size=8)


@dataclass
class Pair:
    one: str
    two: str


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS[:3]), st.lists(st.builds(Pair, fields, fields), max_size=25), st.integers(1, 12), st.data()
)
def test_any_fields_are_read_back_whole_or_in_parts_also_when_parts_were_merged(
    tmp_path_factory: pytest.TempPathFactory, kinds: Any, pairs: list[Pair], parts: int, data: Any
) -> None:
    directory = tmp_path_factory.mktemp("merged")
    writer, reader = kinds[0](directory / "pairs", Pair), kinds[1](directory / "pairs", Pair)
    bounds = sorted(data.draw(st.lists(st.integers(0, len(pairs)), min_size=parts - 1, max_size=parts - 1)))
    slices = [pairs[low:high] for low, high in zip([0, *bounds], [*bounds, len(pairs)], strict=True)]

    in_parts(writer, slices)
    ranges = reader.plan(seen(), parts)
    split = [read(reader, seen().part(index, ranges)) for index in range(len(ranges))]

    assert [path.name for path in directory.iterdir()] == ["pairs"]
    assert read(reader) == pairs
    assert [item for part in split for item in part] == pairs


def in_parts(writer: Any, slices: list[list[Any]], **merging: Any) -> list[PartResult]:
    """Writes each slice as a part, and merges them as they happened to end: backwards."""
    results = results_of(writer, slices)
    merge(writer, **merging)(seen(), results)
    return results


def results_of(writer: Any, slices: list[list[Any]]) -> list[PartResult]:
    ranges = [Range(index, index) for index in range(len(slices))]
    states = [written(writer, items, seen().part(index, ranges)).state for index, items in enumerate(slices)]
    results = [PartResult(index, None, None, Counts(), state) for index, state in enumerate(states)]
    return results[::-1]


@pytest.mark.parametrize("number", [0, 1, 3, 20, 25])
def test_ten_merged_parts_are_the_file_that_one_writer_writes(tmp_path: Path, number: int) -> None:
    items = [{"n": n, "text": "x\n" * (n % 3)} for n in range(number)]
    whole = CsvWriter(tmp_path / "whole.csv", columns=("n", "text"))
    merged = CsvWriter(tmp_path / "merged.csv", columns=("n", "text"), checksum=Checksum("md5"))

    written(whole, items)
    in_parts(merged, [items[number * part // 10 : number * (part + 1) // 10] for part in range(10)])

    assert (tmp_path / "merged.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged.csv", "merged.csv.md5", "whole.csv"]
    Checksum("md5").verify(merged.place(str(tmp_path / "merged.csv")))


def test_a_plan_without_parts_is_merged_to_a_header(tmp_path: Path) -> None:
    in_parts(CsvWriter(tmp_path / "a.csv", columns=("n",)), [])

    assert (tmp_path / "a.csv").read_text() == "n\n"


def test_parts_with_names_of_their_own_are_merged_under_the_name_that_is_given(tmp_path: Path) -> None:
    writer = JsonLinesWriter(tmp_path / "p-{part:02d}.json", checksum=Checksum("ok"))

    in_parts(writer, [[{"a": 1}], [{"a": 2}]], to=str(tmp_path / "all.json"))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.json", "all.json.ok"]
    assert (tmp_path / "all.json").read_text() == '{"a":1}\n{"a":2}\n'
    with pytest.raises(DefinitionError, match="to="):
        merge(writer)


@pytest.mark.parametrize("store", ["local", "memory"])
@pytest.mark.parametrize("step", range(1, 12))
def test_a_merge_that_was_broken_off_anywhere_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, step: int
) -> None:
    path = f"{tmp_path}/all.csv" if store == "local" else f"memory://{tmp_path}/all.csv"
    writer = CsvWriter(path, columns=("n",), checksum=Checksum("sha1"))
    results = results_of(writer, [[{"n": n}] for n in range(5)])
    kept = 0

    def dying(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal kept
            kept += 1
            if kept == step:
                raise MemoryError(name)
            return function(*arguments)

        return call

    with monkeypatch.context() as patched:
        for name in ("move_to", "remove", "blocks"):
            patched.setattr(
                f"jobservice.batch.stores.Place.{name}", dying(name, getattr(type(writer.place(path)), name))
            )
        with pytest.raises(MemoryError):
            merge(writer)(seen(), results)
    merge(writer)(seen(), results)

    assert read(CsvReader(path, checksum=Checksum("sha1"))) == [{"n": str(n)} for n in range(5)]
    assert [name for name in names_in(tmp_path, store) if "part" in name] == []


@pytest.mark.parametrize("store", ["local", "memory"])
def test_a_merge_refuses_parts_that_are_not_what_was_committed(tmp_path: Path, store: str) -> None:
    path = f"{tmp_path}/all.csv" if store == "local" else f"memory://{tmp_path}/all.csv"
    writer = CsvWriter(path, columns=("n",))
    results = results_of(writer, [[{"n": 1}], [{"n": 2}]])
    first = writer.place(results[1].state["files"][path][0])

    first.put(b"n\n")

    with pytest.raises(FileLost, match="has 2 bytes, 4 were committed"):
        merge(writer)(seen(), results)
    first.remove()
    with pytest.raises(FileLost, match="is not complete, and parts of it are gone"):
        merge(writer)(seen(), results)


# What a daemon does: state and file are not committed together, and only the state goes back.


@pytest.mark.parametrize("store", ["local", "memory"])
@pytest.mark.parametrize(("writer", "_"), KINDS)
def test_after_a_failure_anywhere_the_file_is_that_of_an_undisturbed_run(
    tmp_path: Path, store: str, writer: Any, _: Any
) -> None:
    base = str(tmp_path) if store == "local" else f"memory://{tmp_path}"
    plans = [PLANS[n % 3].model_copy(update={"loan": f"{n}"}) for n in range(12)]
    calm = writer(f"{base}/calm", Plan)
    written(calm, plans, size=3)

    # Chunks of other sizes, each second one lost behind its write, now and then the daemon with it.
    wild = writer(f"{base}/wild", Plan)
    context, done, turn = seen(), 0, 0
    wild.open(context)
    while done < len(plans):
        turn += 1
        committed = deepcopy(context.state) if done or turn % 5 == 0 else {}
        chunk = plans[done : done + 1 + turn % 4]
        wild.write(context, chunk)
        if turn % 2:
            context = seen()
            context.info.run = turn // 3  # each third time in a run of its own
            context.state.update(committed)
            wild.open(context)
        else:
            done += len(chunk)
    wild.close(context)
    wild.open(context)  # the run was lost between the end of its last chunk and the end of its step
    wild.close(context)

    assert content(wild, f"{base}/wild") == content(calm, f"{base}/calm")
    assert names_in(tmp_path, store) == ["calm", "wild"]


def test_a_store_that_lists_names_without_their_directory_is_written_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = MemoryFileSystem.ls

    def bare(self: Any, path: str, detail: bool = True, **more: Any) -> Any:  # as fsspec's FTP does
        found = listed(self, path, detail=detail, **more)
        return found if detail else [each.rpartition("/")[2] for each in found]

    monkeypatch.setattr(MemoryFileSystem, "ls", bare)
    writer = CsvWriter(f"memory://{tmp_path}/plans.csv", Plan)

    written(writer, PLANS)

    assert read(CsvReader(f"memory://{tmp_path}/plans.csv", Plan)) == PLANS


def test_parts_are_merged_in_a_store_that_calls_the_removal_of_nothing_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = MemoryFileSystem.rm

    def rm(self: Any, path: str, recursive: bool = False, **more: Any) -> Any:  # as fsspec's FTP does
        if not self.exists(path):
            raise ftplib.error_perm("550 No such file or directory.")
        return removed(self, path, recursive=recursive, **more)

    monkeypatch.setattr(MemoryFileSystem, "rm", rm)
    writer = CsvWriter(f"memory://{tmp_path}/plans.csv", Plan, checksum=Checksum("md5"))

    in_parts(writer, [PLANS[:1], PLANS[1:]])
    context = written(writer, PLANS)
    writer.open(context)  # the run was lost behind its end
    writer.close(context)

    assert read(CsvReader(f"memory://{tmp_path}/plans.csv", Plan, checksum=Checksum("md5"))) == PLANS
    assert names_in(tmp_path, "memory") == ["plans.csv", "plans.csv.md5"]


def names_in(directory: Path, store: str) -> list[str]:
    found = fsspec.filesystem("file" if store == "local" else "memory").ls(str(directory), detail=False)
    return sorted(path.rpartition("/")[2] for path in found)


@pytest.mark.parametrize("store", ["local", "memory"])
@pytest.mark.parametrize("late", ["write", "open and write"])
@pytest.mark.parametrize("committed", [False, True])
def test_a_run_that_lost_its_lease_harms_nothing_that_the_next_one_writes(
    tmp_path: Path, store: str, late: str, committed: bool
) -> None:
    base = str(tmp_path) if store == "local" else f"memory://{tmp_path}"
    writer, lost, new = CsvWriter(f"{base}/a.csv", columns=("n",)), seen(), seen()
    new.info.run = 2
    writer.open(lost)
    writer.write(lost, [{"n": 1}])
    known = deepcopy(lost.state) if committed else {}
    new.state.update(deepcopy(known))
    writer.open(new)
    writer.write(new, [{"n": 2}])

    if late == "open and write":
        lost.state.clear()
        lost.state.update(known)
        writer.open(lost)
    writer.write(lost, [{"n": "late, and longer than what the next run wrote"}])
    writer.write(new, [{"n": 3}])
    writer.close(new)

    assert content(writer, f"{base}/a.csv") == (b"n\n1\n2\n3\n" if committed else b"n\n2\n3\n")
    assert names_in(tmp_path, store) == ["a.csv"]


def content(writer: Any, path: str) -> bytes:
    return b"".join(writer.place(path).blocks())


@pytest.mark.parametrize("store", ["local", "memory"])
def test_a_file_that_is_not_as_far_as_was_committed_is_refused(tmp_path: Path, store: str) -> None:
    path = f"{tmp_path}/a.csv" if store == "local" else f"memory://{tmp_path}/a.csv"
    writer, context = CsvWriter(path, columns=("n",)), seen()
    writer.open(context)
    writer.write(context, [{"n": 1}])

    context.state["files"][path][1] += 1

    with pytest.raises(FileLost, match="were committed"):
        writer.open(context)


def test_a_file_has_its_name_only_when_it_is_complete_and_its_checksum_after_that(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("that of yesterday")
    writer, context = CsvWriter(tmp_path / "a.csv", columns=("n",), checksum=Checksum("md5")), seen()

    writer.open(context)
    writer.write(context, [{"n": 1}])

    assert (tmp_path / "a.csv").read_text() == "that of yesterday"
    writer.close(context)
    assert (tmp_path / "a.csv").read_text() == "n\n1\n"
    assert (tmp_path / "a.csv.md5").read_text() == "e4f091c6cdb66907c6fa318d8fa27299  a.csv\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.csv.md5"]


def test_parts_never_share_a_file_where_a_parameter_of_the_job_is_called_like_a_word_for_the_part(
    tmp_path: Path,
) -> None:
    writer = JsonLinesWriter(tmp_path / "all-{n,3#}.json")
    parts = [replace(seen(n=25), partition=Partition(index, 2), state={}) for index in range(2)]

    states = [written(writer, [{"a": index}], part).state for index, part in enumerate(parts)]
    merge(writer)(parts[0], [PartResult(index, None, None, Counts(), state) for index, state in enumerate(states)])

    assert [path.name for path in tmp_path.iterdir()] == ["all-025.json"]
    assert (tmp_path / "all-025.json").read_text() == '{"a":0}\n{"a":1}\n'
    with pytest.raises(DefinitionError, match="to="):
        merge(writer)(seen(), [])
