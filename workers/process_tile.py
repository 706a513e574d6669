"""ProcessTile: one tile of a large picture, cut out and resampled, as a file of its own."""

import math
import os
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from jobservice import AbstractJob

if TYPE_CHECKING:  # the daemon imports this module also where Pillow is not installed
    from PIL.Image import Image

TileFormat = Literal["png", "jpeg", "webp"]
FORMAT_MODES: Final[dict[TileFormat, tuple[str, ...]]] = {
    "png": ("L", "LA", "RGB", "RGBA"),
    "jpeg": ("L", "RGB"),
    "webp": ("RGB", "RGBA"),
}
"""The kinds of pixels that a format can hold; the last one takes what is none of them."""


class PillowMissing(Exception):
    """The library that reads and writes pictures is not installed; the text says how to install it."""


class NoSuchTile(ValueError):
    """The picture ends before this tile; the text says how many there are."""


@dataclass(frozen=True, slots=True)
class TileReport:
    """A tile that was written. `left` and `top` are its place in the resampled picture, in pixels."""

    file: str
    left: int
    top: int
    width: int
    height: int
    bytes: int
    sha256: str


class ProcessTile(AbstractJob):
    """Writes column `x`, row `y` of the tiles of a picture to `directory/<y>-<x>.<format>`.

    Tiles are `size` pixels of `source` wide and high, less at its right and lower edge; `resolution` is the number of
    pixels of the result for each of them, along each side. Tiles adjoin: put together they are the whole picture,
    resampled at once. In a stage, `pixels` and `bytes` of its metadata are counted up.
    """

    executor = "process"

    def run(
        self,
        source: Path,
        directory: Path,
        *,
        x: Annotated[int, Field(ge=0)],
        y: Annotated[int, Field(ge=0)],
        size: Annotated[int, Field(ge=1, le=20_000)] = 512,
        resolution: Annotated[float, Field(gt=0, le=4)] = 1.0,
        format: TileFormat = "png",  # noqa: A002 - the parameter's name
    ) -> TileReport:
        with open_picture(source) as picture:
            box = tile_box(picture.size, x, y, size, resolution)
            self.raise_if_stopped()
            tile = cut(picture, box, resolution, format)
        self.raise_if_stopped()

        content = encoded(tile, format)
        file = directory / f"{y}-{x}.{format}"
        write_whole(file, content, mark=f"{self.info.id}-{self.info.run}")
        self._count(tile.width * tile.height, len(content))
        return TileReport(
            file=os.fspath(file),
            left=box[0],
            top=box[1],
            width=tile.width,
            height=tile.height,
            bytes=len(content),
            sha256=sha256(content).hexdigest(),
        )

    def _count(self, pixels: int, size: int) -> None:
        if self.stage is not None:
            self.increment_stage_metadata("pixels", pixels)
            self.increment_stage_metadata("bytes", size)


def open_picture(source: Path) -> "Image":
    """The picture, its pixels not read yet. Raises PillowMissing, OSError (also for what is no picture)."""
    try:
        from PIL import Image
    except ImportError as error:
        text = "ProcessTile needs Pillow, which this daemon does not have: pip install 'jobservice[images]'"
        raise PillowMissing(text) from error
    return Image.open(source)


def tile_box(whole: tuple[int, int], x: int, y: int, size: int, resolution: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a tile in the resampled picture. Raises NoSuchTile."""
    columns, rows = (math.ceil(side / size) for side in whole)
    if x >= columns or y >= rows:
        raise NoSuchTile(f"tile ({x}, {y}) is none of the {columns} x {rows} tiles of {size} pixels")
    width, height = resampled_size(whole, resolution)
    left, right = (min(width, round(column * size * resolution)) for column in (x, x + 1))
    top, bottom = (min(height, round(row * size * resolution)) for row in (y, y + 1))
    right, bottom = (width if x == columns - 1 else right), (height if y == rows - 1 else bottom)
    if left == right or top == bottom:
        raise NoSuchTile(f"tile ({x}, {y}) has no pixel at resolution {resolution:g}")
    return left, top, right, bottom


def resampled_size(whole: tuple[int, int], resolution: float) -> tuple[int, int]:
    """Width and height of the whole picture at this resolution."""
    width, height = whole
    return max(1, round(width * resolution)), max(1, round(height * resolution))


def cut(picture: "Image", box: tuple[int, int, int, int], resolution: float, kind: TileFormat) -> "Image":
    """The pixels of one tile. At its edges the pixels beyond count, too: so tiles adjoin without a seam."""
    from PIL import Image

    left, top, right, bottom = box
    width, height = resampled_size(picture.size, resolution)
    across, down = picture.width / width, picture.height / height
    pixels = _in_mode_of(kind, picture)
    area = (left * across, top * down, min(right * across, picture.width), min(bottom * down, picture.height))
    return pixels.resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=area)


def _in_mode_of(kind: TileFormat, picture: "Image") -> "Image":
    modes = FORMAT_MODES[kind]
    if picture.mode in modes:
        return picture
    see_through = "A" in picture.mode or "transparency" in picture.info
    return picture.convert(modes[-1] if see_through else "RGB")


def encoded(tile: "Image", kind: TileFormat) -> bytes:
    """The tile as the content of a file."""
    content = BytesIO()
    tile.save(content, kind.upper())
    return content.getvalue()


def write_whole(file: Path, content: bytes, mark: str) -> None:
    """Nobody ever sees half of the file: it is written beside, under a name with `mark`, and renamed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{mark}.part")
    try:
        part.write_bytes(content)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
