"""UploadTile: a file into a store, through fsspec; what is there already with the same content is left alone."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO, Final

from pydantic import Field

from jobservice import AbstractJob, JobParameterInvalid

PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class UploadReport:
    """What is in the store now; `uploaded` is False where it was there before."""

    path: str
    bytes: int
    sha256: str
    uploaded: bool


class UploadTile(AbstractJob):
    """Writes `file` to `store`, the URL of a directory as fsspec has it (`s3://maps/earth`, `file:///srv/maps`).

    `name` is the one there, by default the file's own; it may lead to a directory below, to none elsewhere. In a stage,
    `uploaded` or `skipped` of its metadata is counted up.
    """

    def run(self, file: Path, store: Annotated[str, Field(min_length=1)], name: str | None = None) -> UploadReport:
        from fsspec.core import url_to_fs

        if name and (name.startswith("/") or ".." in PurePosixPath(name).parts):
            raise JobParameterInvalid("name", f"{name!r} is outside of the store")
        files, place = url_to_fs(store)
        path = f"{place.rstrip('/')}/{name or file.name}"
        with file.open("rb") as source:
            digest = self._digest(source)
        size = file.stat().st_size

        missing = not self._is_there(files, path, size, digest)
        if missing:
            self._upload(files, file, path)
        if self.stage is not None:
            self.increment_stage_metadata("uploaded" if missing else "skipped")
        return UploadReport(path=files.unstrip_protocol(path), bytes=size, sha256=digest, uploaded=missing)

    def _is_there(self, files: Any, path: str, size: int, digest: str) -> bool:
        """Whether the store has this very content: it is read only where the size is the same."""
        files.invalidate_cache(path)  # others write to the store, too
        try:
            if files.info(path)["size"] != size:
                return False
            with files.open(path, "rb") as there:
                return self._digest(there) == digest
        except FileNotFoundError:
            return False

    def _upload(self, files: Any, file: Path, path: str) -> None:
        """Stores of objects show a whole object or none; in a file system that takes a rename."""
        from fsspec.implementations.local import LocalFileSystem

        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self.raise_if_stopped()
        if not isinstance(files, LocalFileSystem):
            files.put_file(os.fspath(file), path)
            return
        part = f"{path}.{self.info.id}-{self.info.run}.part"
        try:
            files.put_file(os.fspath(file), part)
            Path(part).replace(path)
        finally:
            Path(part).unlink(missing_ok=True)

    def _digest(self, stream: BinaryIO) -> str:
        digest = sha256()
        while piece := stream.read(PIECE):
            digest.update(piece)
            self.raise_if_stopped()
        return digest.hexdigest()
