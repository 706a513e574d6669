"""Writers of files: CSV, TSV, lines of JSON, fixed width. What is committed of a file is kept in the step's state.

A writer belongs to a job class and keeps nothing of a run. docs/batch.md says what a crash leaves.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from jobservice.batch.appending import Growing
from jobservice.batch.checksums import Checksum
from jobservice.batch.delimited import Delimited
from jobservice.batch.fixed_width import FixedWidth
from jobservice.batch.json_lines import JsonLines
from jobservice.batch.lines import checked_encoding
from jobservice.batch.patterns import expanded, names_parts
from jobservice.batch.records import Records
from jobservice.batch.stores import Place
from jobservice.domain.errors import DefinitionError
from jobservice.sdk.steps import StepContext

FILES: Final = "files"
"""In the state of a step: name pattern → [path, bytes that are committed, their pieces as [from, owner]]."""


class Layout(Protocol):
    """Of all files of a writer."""

    def head(self) -> str:
        """What comes before the records."""

    def text(self, items: Sequence[Any]) -> str:
        """The lines of some items."""


class FileWriter:
    """For `Chunk(write=…)`: `open`, `write`, `close`. The subclasses say how the file is written.

    A part of a step writes a file of its own: as the name says, or else `….part-00003`, for `merge`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        layout: Layout,
        *,
        encoding: str = "utf-8",
        checksum: Checksum | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.layout = layout
        self.encoding = checked_encoding(encoding)
        self.checksum = checksum
        self.options = options

    def open(self, context: StepContext) -> None:
        """Goes back to what the state says is committed; begins the file with its header where that is nothing."""
        owner = f"{context.info.id}-{context.info.run}"
        if self.path in context.state.get(FILES, {}):
            file = self._file(context)
            file.go_on(owner)
        else:
            file = Growing(self.place(self._url(context)), 0, [])
            file.begin(owner, self.head)
        self._keep(context, file)

    def write(self, context: StepContext, items: Sequence[Any]) -> None:
        """Behind what is committed; on the disk when this returns. Raises ValueError for what cannot be written."""
        file = self._file(context)
        file.append(self.layout.text(items).encode(self.encoding))
        self._keep(context, file)

    def close(self, context: StepContext) -> None:
        """The file is complete: it has its name, and its checksum unless it is to be merged."""
        file = self._file(context)
        file.complete()
        if self.checksum is not None and not self._is_of_part(context):
            self.checksum.write(file.place)

    def _file(self, context: StepContext) -> Growing:
        known = context.state.get(FILES, {}).get(self.path)
        if known is None:
            raise DefinitionError(f"{self.path}: `open` was not called before `write`")
        url, size, pieces = known
        return Growing(self.place(url), size, [(start, owner) for start, owner in pieces])

    def _keep(self, context: StepContext, file: Growing) -> None:
        files = context.state.setdefault(FILES, {})
        url = files[self.path][0] if self.path in files else self._url(context)
        files[self.path] = [url, file.size, [list(piece) for piece in file.pieces]]

    @property
    def head(self) -> bytes:
        """With which each file begins."""
        return self.layout.head().encode(self.encoding)

    def place(self, url: str) -> Place:
        """In the writer's store."""
        return Place.of(url, self.options)

    def _url(self, context: StepContext) -> str:
        url = expanded(self.path, context)
        return f"{url}.part-{context.partition.index:05d}" if self._is_of_part(context) else url

    def _is_of_part(self, context: StepContext) -> bool:
        return context.partition.count > 1 and not names_parts(self.path, context)


class CsvWriter(FileWriter):
    """Fields separated by a comma or another character, quoted where they must be."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        record: Any = dict,
        *,
        delimiter: str = ",",
        header: bool = True,
        columns: Sequence[str] = (),
        **of_files: Any,
    ) -> None:
        """Of plain dicts the `columns` are written. The rest: FileWriter."""
        layout = Delimited(delimiter, Records(record), header, columns)
        if not layout.names:
            raise DefinitionError(f"{path}: a writer needs a record, or `columns` where its items are plain dicts")
        super().__init__(path, layout, **of_files)


class TsvWriter(CsvWriter):
    """Fields separated by tabs, quoted where they must be."""

    def __init__(self, path: str | os.PathLike[str], record: Any = dict, **more: Any) -> None:
        super().__init__(path, record, delimiter="\t", **more)


class JsonLinesWriter(FileWriter):
    """One JSON value a line."""

    def __init__(self, path: str | os.PathLike[str], record: Any = dict, **of_files: Any) -> None:
        super().__init__(path, JsonLines(Records(record)), **of_files)


class FixedWidthWriter(FileWriter):
    """Lines of fields with a width each: `Annotated[str, Column(width=10)]`."""

    def __init__(self, path: str | os.PathLike[str], record: Any, **of_files: Any) -> None:
        super().__init__(path, FixedWidth(Records(record)), **of_files)
