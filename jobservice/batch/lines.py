"""Lines of a binary file with the place behind them. Quoted newlines make a record of several lines; records know."""

from collections.abc import Iterator
from typing import BinaryIO

from jobservice.domain.errors import DefinitionError

BOM = b"\xef\xbb\xbf"


class Lines:
    """An iterator of decoded lines, ends included. `offset` is the place behind the last one, in bytes."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self.offset = stream.tell()
        self.count = 0
        """Lines that were read from here on."""
        self.undecodable: UnicodeDecodeError | None = None
        """Set when a line is not in the encoding; to be cleared by who reads it."""
        if self.offset == 0 and stream.read(3) == BOM:
            self.offset = 3
        stream.seek(self.offset)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline()
        if not line:
            raise StopIteration
        self.offset += len(line)
        self.count += 1
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError as error:
            self.undecodable = error
            return line.decode("latin-1")  # the record's end is found all the same


def checked_encoding(encoding: str) -> str:
    """The encoding, found to be one in which a newline is one byte. Raises DefinitionError."""
    try:
        plain = "\n\"'\t,".encode(encoding) == b"\n\"'\t,"
    except LookupError as error:
        raise DefinitionError(f"there is no encoding {encoding!r}") from error
    if not plain:
        raise DefinitionError(
            f"files in {encoding} have no places to go on from: a newline must be one byte; convert them to utf-8 first"
        )
    return encoding
