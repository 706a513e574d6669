"""Readers of files: records, positions, parts, and what is wrong with a file said clearly."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from seen import seen

from jobservice.batch import (
    BadRow,
    Checksum,
    ChecksumMismatch,
    Column,
    CsvReader,
    FileLost,
    FixedWidthReader,
    HeaderMismatch,
    JsonLinesReader,
    TsvReader,
)
from jobservice.domain.errors import DefinitionError


class Trade(BaseModel):
    number: Annotated[int, Column(name="No")]
    day: Annotated[date, Column(name="Trade date", format="%d.%m.%Y")]
    amount: Decimal
    settled: Annotated[bool, Column(format="Y/N")] = False
    note: str | None = None


HEAD = "No,Trade date,amount,settled,note\n"


def items(reader: Any, context: Any = None, after: Any = None) -> list[Any]:
    found = list(reader.read(context or seen(), after))
    assert [at.error for at in found if at.error is not None] == []
    return [at.item for at in found]


def in_parts(reader: Any, parts: int) -> list[list[Any]]:
    ranges = reader.plan(seen(), parts)
    assert len(ranges) <= parts
    return [items(reader, seen().part(index, ranges)) for index in range(len(ranges))]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trades.csv"


def test_texts_become_what_the_record_says_and_blanks_its_defaults(file: Path) -> None:
    file.write_text(HEAD + '7,24.12.2025,12.50,Y,"a ""b"", c"\n8,01.01.2026,-1,,\n')

    first, second = items(CsvReader(file, Trade))

    assert first == Trade(number=7, day=date(2025, 12, 24), amount=Decimal("12.50"), settled=True, note='a "b", c')
    assert second == Trade(number=8, day=date(2026, 1, 1), amount=Decimal(-1), settled=False, note=None)


def test_columns_are_found_by_the_header_in_any_order_and_unknown_ones_are_left_out(file: Path) -> None:
    file.write_text("note,more,amount,settled,Trade date,No\nx,?,1,N,01.02.2026,3\n")

    (trade,) = items(CsvReader(file, Trade))

    assert (trade.number, trade.day, trade.note) == (3, date(2026, 2, 1), "x")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("No,amount\n", "the header has no Trade date, settled, note; it has: No, amount"),
        ("No,Trade date,amount,setled,note\n", "the header has no settled; it has: No, Trade date, amount, setled"),
        ("No,No,Trade date,amount\n", "columns are there twice: No"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_and_says_what_is_missing(file: Path, header: str, told: str) -> None:
    file.write_text(header)

    with pytest.raises(HeaderMismatch, match=told):
        items(CsvReader(file, Trade))


def test_without_a_header_columns_are_found_by_their_position(file: Path) -> None:
    @dataclass
    class Pair:
        value: Annotated[int, Column(position=3)]
        name: Annotated[str, Column(position=1)]

    file.write_text("a,-,1\nb,-,2\n")

    assert items(CsvReader(file, Pair, header=False)) == [Pair(1, "a"), Pair(2, "b")]


def test_a_column_may_be_said_inside_of_what_may_be_none(file: Path) -> None:
    class Maybe(BaseModel):
        day: Annotated[date, Column(name="The day", format="%d.%m.%Y")] | None = None

    file.write_text('The day\n03.02.2026\n""\n')

    assert items(CsvReader(file, Maybe)) == [Maybe(day=date(2026, 2, 3)), Maybe()]


def test_plain_dicts_are_named_by_the_header_or_by_columns(file: Path) -> None:
    file.write_text("a\tb\n1\tx\n")

    assert items(TsvReader(file)) == [{"a": "1", "b": "x"}]
    assert items(TsvReader(file, header=False, columns=("c", "d"))) == [{"c": "a", "d": "b"}, {"c": "1", "d": "x"}]
    with pytest.raises(DefinitionError, match="columns"):
        items(TsvReader(file, header=False))


@pytest.mark.parametrize("content", ["", HEAD, "\ufeff", "\ufeff" + HEAD, HEAD.strip()])
def test_a_file_without_records_is_read_to_its_end_and_has_no_parts_with_any(file: Path, content: str) -> None:
    file.write_text(content)
    reader = CsvReader(file, Trade)

    assert items(reader) == []
    assert reader.count(seen()) == 0
    assert [part for part in in_parts(reader, 10) if part] == []


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n"])
def test_byte_order_mark_and_final_newline_are_no_part_of_a_record(file: Path, start: str, end: str) -> None:
    file.write_bytes(f"{start}a,b\r\n1,x\r\n2,y{end}".encode())
    reader = CsvReader(file)

    assert items(reader) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    assert reader.count(seen()) == 2


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "gb18030", "shift_jis"])
def test_any_encoding_whose_newline_is_one_byte_is_read(file: Path, encoding: str) -> None:
    text = {"gb18030": "漢字", "shift_jis": "表ソ"}.get(encoding, "Zürich")
    file.write_bytes(f'a,b\n"{text}\n{text}",1\n{text},2\n'.encode(encoding))

    found = in_parts(CsvReader(file, encoding=encoding), 2)

    assert [item["a"] for part in found for item in part] == [f"{text}\n{text}", text]
    with pytest.raises(DefinitionError, match="utf-16"):
        CsvReader(file, encoding="utf-16")


def test_bad_rows_come_with_line_and_field_and_those_behind_them_are_read(file: Path) -> None:
    good = b"1,01.01.2026,1,N,\n"
    file.write_bytes(
        HEAD.encode() + good + b'2,01.01.2026,1,N,"two\nlines"\n'
        b"x,01.01.2026,1,N,\n" + b"4,2026-01-01,1,N,\n" + b"5,01.01.2026,1,?,\n" + b"6,7\n"
        b"7,01.01.2026,1,N,\xff\n" + b'8,01.01.2026,1,N,"a"b\n' + good
    )
    reader = CsvReader(file, Trade)

    found = list(reader.read(seen(), None))
    again = list(reader.read(seen(), found[1].position))

    errors = [at.error for at in found if at.error is not None]
    assert all(isinstance(error, BadRow) for error in errors)
    assert [(error.line, error.field) for error in errors] == [
        (5, "No"), (6, "Trade date"), (7, "settled"), (8, None), (9, None), (10, None)
    ]  # fmt: skip
    assert str(errors[0]).endswith("line 5, field No: Input should be a valid integer, unable to parse string as an"
                                   " integer, not 'x'")  # fmt: skip
    assert [at.item.number for at in found if at.error is None] == [1, 2, 1]
    assert [str(at.error) for at in again] == [str(at.error) for at in found[2:]]


def test_a_quote_that_is_never_closed_is_told_with_the_lines_that_it_takes_in(file: Path) -> None:
    file.write_text('a,b\n1,x\n2,"y\n3,z\n4,z\n')

    _, bad = CsvReader(file).read(seen())

    assert str(bad.error) == f"{file}, line 3: a quote is not closed: it takes in the 3 lines up to the end of the file"


def test_a_file_with_carriage_returns_alone_is_told_to_have_them(file: Path) -> None:
    file.write_bytes(b"a,b\r1,x\r")

    with pytest.raises(HeaderMismatch, match="a carriage return stands alone in a field without quotes"):
        items(CsvReader(file))


def test_a_delimiter_is_one_character(file: Path) -> None:
    for wrong in ("||", "", '"', "\n"):
        with pytest.raises(DefinitionError, match="a delimiter is one character"):
            CsvReader(file, delimiter=wrong)


def test_a_local_path_may_have_what_means_something_in_a_url(tmp_path: Path) -> None:
    path = tmp_path / "a::b#c?d.csv"
    path.write_text("a\n1\n")

    assert items(CsvReader(path)) == [{"a": "1"}]


def test_reading_goes_on_behind_any_position(file: Path) -> None:
    file.write_text(HEAD + "".join(f'{n},01.01.2026,1,N,"a\n""{n}"\n' for n in range(30)))
    reader = CsvReader(file, Trade)
    whole = list(reader.read(seen(), None))

    for done, at in enumerate(whole, start=1):
        assert [each.item for each in reader.read(seen(), at.position)] == [each.item for each in whole[done:]]


def test_a_file_that_became_shorter_is_refused(file: Path) -> None:
    file.write_text("a\n1\n2\n")
    last = list(CsvReader(file).read(seen(), None))[-1].position
    file.write_text("a\n1\n")

    with pytest.raises(FileLost, match="it was longer"):
        items(CsvReader(file), after=last)
    with pytest.raises(FileLost, match="there is no file"):
        items(CsvReader(file.with_name("none.csv")))


@pytest.mark.parametrize("number", [0, 1, 3, 20, 25])
def test_ten_parts_read_each_record_once_in_order(file: Path, number: int) -> None:
    file.write_text("a,b\n" + "".join(f"{n},{'x' * (n % 7)}\n" for n in range(number)))
    reader = CsvReader(file)

    parts = in_parts(reader, 10)

    assert [item["a"] for part in parts for item in part] == [str(n) for n in range(number)]
    assert all(parts) and len(parts) == (min(number, 10) if number != 20 else len(parts))
    ranges = reader.plan(seen(), 10)
    assert sum(reader.count(seen().part(index, ranges)) for index in range(len(ranges))) == number


# Fields that try the parser: separators, quotes, newlines of all kinds, nothing at all.
fields = st.text(st.sampled_from("ab ,;\t\"\n\r'\\é漢\x00\u2028"), max_size=8)
tables = st.lists(st.tuples(fields, fields), max_size=25)


@settings(max_examples=80, deadline=None)
@given(tables, st.integers(1, 12), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_partitioning_of_a_file_gives_what_the_whole_gives(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[tuple[str, str]],
    parts: int,
    newline: str,
    broken: bool,
) -> None:
    quoted = [[field if broken else '"' + field.replace('"', '""') + '"' for field in row] for row in table]
    text = newline.join(["a,b", *(",".join(row) for row in quoted)]) + (newline if parts % 2 else "")
    file = tmp_path_factory.getbasetemp() / "table.csv"
    file.write_bytes(text.encode())
    reader = CsvReader(file)

    whole = list(reader.read(seen(), None))
    ranges = reader.plan(seen(), parts)
    split = [at for index in range(len(ranges)) for at in reader.read(seen().part(index, ranges), None)]

    assert [at.item for at in split] == [at.item for at in whole]
    assert [str(at.error) for at in split] == [str(at.error) for at in whole]
    assert [at.position for at in split] == [at.position for at in whole]
    if not broken:
        assert [tuple(at.item.values()) for at in whole] == table


def test_blocks_without_quotes_are_cut_where_those_with_quotes_are(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobservice.batch.boundaries.BLOCK", 64)
    rows = [f"{n},{'plain' if n % 20 < 10 else chr(34) + chr(10) * 30 + chr(34)}\n" for n in range(200)]
    file.write_text("a,b\n" + "".join(rows))
    reader = CsvReader(file)

    for parts in (2, 7, 50):
        assert [item["a"] for part in in_parts(reader, parts) for item in part] == [str(n) for n in range(200)]
    assert reader.count(seen()) == 200


def test_json_lines_are_records_or_whatever_stands_there(file: Path) -> None:
    file.write_text('{"number": 1, "day": "2026-01-01", "amount": "1.5"}\n\n{"number": "x"}\n[1')

    typed = list(JsonLinesReader(file, Trade).read(seen(), None))
    plain = list(JsonLinesReader(file).read(seen(), None))

    assert typed[0].item == Trade(number=1, day=date(2026, 1, 1), amount=Decimal("1.5"))
    assert [(at.error.line, at.error.field) for at in typed[1:] if isinstance(at.error, BadRow)] == [
        (3, "No"), (4, None)
    ]  # fmt: skip
    assert plain[1].item == {"number": "x"}
    assert isinstance(plain[2].error, BadRow)


@dataclass
class Line:
    name: Annotated[str, Column(width=6)]
    amount: Annotated[Decimal, Column(width=8, fill="0")]
    day: Annotated[date, Column(width=8, format="%Y%m%d")]
    left: Annotated[int, Column(width=3, align="left")]


def test_fixed_width_fields_are_cut_by_characters(file: Path) -> None:
    file.write_text("Zürich00012.50202601027  \nBern  00000000202601038  \nx\n", encoding="latin-1")

    first, second, third = FixedWidthReader(file, Line, encoding="latin-1").read(seen(), None)

    assert first.item == Line("Zürich", Decimal("12.50"), date(2026, 1, 2), 7)
    assert second.item == Line("Bern", Decimal(0), date(2026, 1, 3), 8)
    assert str(third.error).endswith("line 3: 1 characters in the place of 25")
    with pytest.raises(DefinitionError, match="width"):
        FixedWidthReader(file, Trade)


@pytest.mark.parametrize("kind", ["ok", "md5", "sha1", "sha256", "sha512"])
def test_a_file_is_read_only_when_its_checksum_is_right(file: Path, kind: Any) -> None:
    file.write_text("a\n1\n")
    reader = CsvReader(file, checksum=Checksum(kind))

    with pytest.raises(ChecksumMismatch, match="there is no"):
        items(reader)
    Checksum(kind).write(reader.place(seen()))
    assert items(reader) == [{"a": "1"}]
    file.write_text("a\n2\n")
    if kind != "ok":
        with pytest.raises(ChecksumMismatch, match=f"its {kind} is"):
            reader.plan(seen(), 3)


def test_a_file_of_any_store_is_read() -> None:
    import fsspec

    fsspec.filesystem("memory").pipe_file("/in/trades.csv", b"a,b\n" + b"".join(b"%d,x\n" % n for n in range(25)))

    found = in_parts(CsvReader("memory://in/trades.csv"), 10)

    assert [item["a"] for part in found for item in part] == [str(n) for n in range(25)]


def test_each_part_can_have_a_file_of_its_own(tmp_path: Path) -> None:
    for part in range(3):
        (tmp_path / f"in-{part:02d}.csv").write_text(f"a\n{part}\n")

    found = in_parts(CsvReader(tmp_path / "in-{part:02d}.csv"), 3)

    assert found == [[{"a": "0"}], [{"a": "1"}], [{"a": "2"}]]
