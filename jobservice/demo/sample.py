"""A sample of the files that the jobs have digested, digested once more by hashlib. Reads files only."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from jobservice.demo.record import Compared
from jobservice.sdk.job_info import JobInfo

COMPARED: Final = 60
"""Files of the sample."""


def compared(rows: Iterable[JobInfo]) -> list[Compared]:
    """Files evenly spread over all manifests. Not Python's caches: whoever imports a module may be writing one."""
    digested = [
        (Path(row.result["root"]) / name, digest)
        for row in rows
        if isinstance(row.result, dict) and "manifest" in row.result
        for name, digest in sorted(row.result["manifest"].items())
        if "__pycache__" not in name
    ]
    chosen = digested[:: max(1, len(digested) // COMPARED)]
    return [Compared(str(file), digest, _digest(file)) for file, digest in chosen]


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        return str(error)
