"""Where records begin: cuts a file into parts of about the same size, and counts records, in one pass.

A block without a quote is searched for newlines only; in one with quotes the parser itself finds each record's end, so
that parts begin where a reading of the whole would begin a record, with newlines in fields as with broken quotes.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, BinaryIO

from jobservice.batch.lines import Lines
from jobservice.batch.stores import BLOCK


def cuts(stream: BinaryIO, layout: Any, encoding: str, *, start: int, size: int, parts: int) -> list[tuple[int, int]]:
    """At most `parts` pairs (from, to) of offsets from `start` to `size`; none where there are no records."""
    wanted = [start + (size - start) * part // parts for part in range(1, parts)]
    found = [start]
    for low, high, block in _runs(stream, layout, encoding, start, size):
        while wanted and wanted[0] <= high:
            newline = -1 if block is None else block.find(b"\n", max(0, wanted[0] - low - 1))
            wanted.pop(0)
            found.append(high if newline < 0 else low + newline + 1)
        if not wanted:
            break
    ends = sorted({*found, size})
    return list(pairwise(ends))


def count(stream: BinaryIO, layout: Any, encoding: str, *, start: int, end: int) -> int:
    """How many records are between two of their beginnings."""
    return sum(
        1 if block is None else sum(1 for line in block.split(b"\n") if line.strip(b"\r"))
        for _, _, block in _runs(stream, layout, encoding, start, end)
    )


def _runs(
    stream: BinaryIO, layout: Any, encoding: str, start: int, end: int
) -> Iterator[tuple[int, int, bytes | None]]:
    """(from, to, bytes) of whole records without quotes; (from, to, None) of a single record that may have them."""
    low = start
    while low < end:
        stream.seek(low)
        block = stream.read(min(BLOCK, end - low))
        if low + len(block) < end:
            block += stream.readline()
        if not block:
            return
        high = low + len(block)
        if layout.quote is None or layout.quote.encode() not in block:
            yield low, high, block
            low = high
            continue
        stream.seek(low)
        lines = Lines(stream, encoding)
        for row in layout.rows(lines):
            yield low, lines.offset, None if row else b""
            low = lines.offset
            if low >= high:
                break
        else:
            return
