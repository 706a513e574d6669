"""The demo's own job classes: what a well-behaved package of jobs does not have.

The daemon finds them by the name of this package, as it finds any user's.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from jobservice import AbstractJob


class UntilStopped(AbstractJob):
    """Keeps a file in its workspace and waits to be stopped."""

    needs_workspace = True

    async def run(self) -> None:
        self.workspace.joinpath("unfinished").write_text("nobody is to see this afterwards")
        await asyncio.Event().wait()


class ReadAnswer(AbstractJob):
    """Fails, as jobs do."""

    async def run(self, text: str) -> int:
        return int(text)


class DigestTree(AbstractJob):
    """SHA-256 of each file below a directory, where the package `workers` with its ChecksumTree is not installed."""

    def run(self, root: Path) -> dict[str, Any]:
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        self.completion_count = len(files)
        manifest, size = {}, 0
        for file in files:
            content = file.read_bytes()
            manifest[str(file.relative_to(root))] = hashlib.sha256(content).hexdigest()
            size += len(content)
            self.advance_completion()
        return {"root": str(root), "count": len(manifest), "bytes": size, "manifest": manifest}
