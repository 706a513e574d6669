"""CompressFiles: gzip for the old files of a directory."""

import gzip
import shutil
from dataclasses import dataclass
from pathlib import Path

from jobservice import AbstractJob


@dataclass(frozen=True)
class CompressReport:
    """What was done; bytes are of the files compressed by this run."""

    files: int
    bytes_before: int
    bytes_after: int


class CompressFiles(AbstractJob):
    """Compresses the files of a directory that match, one tick per file, and removes the originals."""

    def run(self, directory: Path, pattern: str = "*.log") -> CompressReport:
        files = sorted(directory.glob(pattern))
        self.completion_count = len(files)
        before = after = 0
        for file in files:
            before += file.stat().st_size
            after += compress(file).stat().st_size
            self.advance_completion()
        self.log.info("archive.compress", files=len(files), saved=before - after)
        return CompressReport(len(files), before, after)


def compress(file: Path) -> Path:
    """Make file.gz and remove the file. A run that is cut short leaves a whole file or a whole archive, never half."""
    archive = file.with_name(f"{file.name}.gz")
    part = file.with_name(f"{file.name}.gz.part")
    with file.open("rb") as source, gzip.open(part, "wb") as target:
        shutil.copyfileobj(source, target)
    part.replace(archive)
    file.unlink()
    return archive
