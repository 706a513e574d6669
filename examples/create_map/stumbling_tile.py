"""StumblingTile: a tile that fails the first time, as one in a hundred does."""

from pathlib import Path

from jobservice import Retry
from workers.process_tile import ProcessTile, TileReport


class StumblingTile(ProcessTile):
    """Like ProcessTile, at its second attempt. What size its tiles have it asks its stage."""

    def run(self, source: Path, directory: Path, *, x: int, y: int) -> TileReport:
        assert self.stage is not None
        if self.info.attempt == 1:
            raise Retry(f"stage {self.stage.name}: tile ({x}, {y}) is not to be had yet", after=0.5)
        self.increment_stage_metadata("stumbled")
        data = self.stage.data
        return super().run(source, directory, x=x, y=y, size=data["size"], resolution=data["resolution"])
