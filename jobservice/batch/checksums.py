"""Sidecar files that say whether a file is whole: `plans.csv.md5` as md5sum writes it, or `plans.csv.ok`, a flag."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from jobservice.batch.errors import ChecksumMismatch
from jobservice.batch.stores import Place


@dataclass(frozen=True, slots=True)
class Checksum:
    """`Checksum("md5")`. Readers verify it before they begin, writers write it when their file is complete."""

    kind: Literal["ok", "md5", "sha1", "sha256", "sha512"]

    def __post_init__(self) -> None:
        if self.kind not in ("ok", "md5", "sha1", "sha256", "sha512"):
            raise ValueError(f"a checksum is ok, md5, sha1, sha256 or sha512, not {self.kind!r}")

    def sidecar(self, place: Place) -> Place:
        """Where it is kept."""
        return place.beside(f".{self.kind}")

    def write(self, place: Place) -> None:
        """Of the file as it is."""
        text = "" if self.kind == "ok" else f"{digest(place, self.kind)}  {place.name}\n"
        with self.sidecar(place).written() as stream:
            stream.write(text.encode())

    def verify(self, place: Place) -> None:
        """Raises ChecksumMismatch where there is no sidecar, or another file than it says."""
        sidecar = self.sidecar(place)
        if not sidecar.exists():
            raise ChecksumMismatch(f"{place.path}: there is no {sidecar.name}: the file may not be complete")
        if self.kind == "ok":
            return
        told, *_ = [*b"".join(sidecar.blocks()).decode("ascii", "replace").split(), "nothing"]
        found = digest(place, self.kind)
        if told.lower() != found:
            raise ChecksumMismatch(f"{place.path}: its {self.kind} is {found}, {sidecar.name} says {told[:200]}")


def digest(place: Place, kind: str) -> str:
    """In hexadecimal."""
    found = hashlib.new(kind, usedforsecurity=False)
    for block in place.blocks():
        found.update(block)
    return found.hexdigest()
