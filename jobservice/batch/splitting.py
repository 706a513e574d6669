"""Cuts one file into several, each with the header: `Task("split", split(reader, "in-{part:02d}.csv", parts=10))`."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import BinaryIO

from jobservice.batch.file_reader import FileReader
from jobservice.batch.patterns import expanded, names_parts, part_words
from jobservice.batch.stores import BLOCK, Place
from jobservice.domain.errors import DefinitionError
from jobservice.sdk.steps import Partition, StepContext


def split(reader: FileReader, to: str, parts: int) -> Callable[[StepContext], str]:
    """A function for a task: `parts` files of about the same size, cut between records; some may have none.

    Each is moved into place when it is complete. Called again, it writes them again.
    """
    nameless = f"{to}: the files of a split, 1 or more, need names of their own: {{part}}"
    if not part_words(to) or parts < 1:
        raise DefinitionError(nameless)

    def run(context: StepContext) -> str:
        if not names_parts(to, context):
            raise DefinitionError(nameless)
        source = reader.place(context)
        ranges = reader.plan(context, parts)
        with source.open() as stream:
            head = stream.read(ranges[0].low if ranges else source.size())
            for index in range(parts):
                seen = SimpleNamespace(job=context.job, partition=Partition(index, parts))
                with Place.of(expanded(to, seen), reader.options).written() as part:
                    part.write(head)
                    if index < len(ranges):
                        stream.seek(ranges[index].low)
                        _pass_on(stream, part, ranges[index].high - ranges[index].low)
        return f"{source.path}: {len(ranges)} files with records"

    return run


def _pass_on(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size > 0 and (block := source.read(min(BLOCK, size))):
        target.write(block)
        size -= len(block)
