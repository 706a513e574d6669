"""Copies files between stores, and proves that the copy is the same: `Task("deliver", copy("plans.csv", "ftp://…"))`."""

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from jobservice.batch.checksums import Checksum, digest
from jobservice.batch.errors import ChecksumMismatch
from jobservice.batch.patterns import expanded
from jobservice.batch.stores import Place
from jobservice.sdk.steps import StepContext

PROOF = "sha256"


def copy(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    checksum: Checksum | None = None,
    source_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
) -> Callable[[StepContext], str]:
    """A function for a task. Both are name patterns: local paths, or URLs of any stores.

    With a `checksum` the source's is verified first, and the target gets one. The copy is written aside, read back and
    compared, and moved into place last: the target is the old file or the whole new one.
    """

    def run(context: StepContext | Mapping[str, Any]) -> str:
        here = Place.of(expanded(os.fspath(source), context), source_options)
        there = Place.of(expanded(os.fspath(target), context), target_options)
        if checksum is not None:
            checksum.verify(here)
        size = copied(here, there)
        if checksum is not None:
            checksum.write(there)
        return f"{there.path}: {size} bytes"

    return run


def copied(source: Place, target: Place) -> int:
    """How many bytes were copied. Raises ChecksumMismatch where the copy is not the same."""
    aside = target.beside(".copying")
    wanted, size = hashlib.new(PROOF), 0
    try:
        with aside.written() as stream:
            for block in source.blocks():
                stream.write(block)
                wanted.update(block)
                size += len(block)
        if (found := digest(aside, PROOF)) != wanted.hexdigest():
            raise ChecksumMismatch(f"{target.path}: the copy's {PROOF} is {found}, not {wanted.hexdigest()}")
    except BaseException:
        aside.remove()
        raise
    aside.move_to(target)
    return size
