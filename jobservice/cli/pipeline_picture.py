"""A pipeline's stages as a picture: SVG. Rows of boxes, each as wide as the longest text needs, and arrows between."""

from itertools import pairwise
from typing import Any, Final, Literal
from xml.sax.saxutils import escape

import svg

from jobservice.cli.output import printable
from jobservice.cli.pipeline_graph import FILLS, words_of
from jobservice.sdk.pipeline import PipelineInfo, StageInfo

_NARROWEST, _HEIGHT, _GAP, _MARGIN, _TITLE = 190, 84, 46, 20, 30
_WIDEST: Final = 1_200
"""Of a row: a screen."""
_CHARACTER: Final = 0.7
"""Width of a character for its size: of bold letters in wide fonts. Which one draws it is not known here."""


def as_svg(pipeline: PipelineInfo) -> str:
    """A document of its own; the border of a stage on hold is dashed."""
    stages, title = pipeline.stages, f"{printable(pipeline.name)}  {pipeline.status}  {pipeline.percent_completed} %"
    box = max([_NARROWEST, *(20 + _text_width(line, 12) for stage in stages for line in words_of(stage))])
    columns = max(1, min(len(stages), (_WIDEST + _GAP) // (box + _GAP)))
    places = [_place(n, columns, box) for n in range(len(stages))]
    width = 2 * _MARGIN + max(columns * (box + _GAP) - _GAP, _text_width(title, 15))
    height = _MARGIN + (places[-1][1] + _HEIGHT if places else _MARGIN + _TITLE)
    elements: list[svg.Element] = [
        svg.Rect(x=0, y=0, width=width, height=height, fill="#ffffff"),
        _text(title, _MARGIN, _MARGIN + 12, size=15, weight="bold"),
    ]
    for stage, (x, y) in zip(stages, places, strict=True):
        elements += _box(stage, x, y, box)
    for before, after in pairwise(places):
        elements += _arrow(before, after, box)
    return str(svg.SVG(viewBox=svg.ViewBoxSpec(0, 0, width, height), width=width, height=height, elements=elements))


def _place(n: int, columns: int, box: int) -> tuple[int, int]:
    row, column = divmod(n, columns)
    return _MARGIN + column * (box + _GAP), _MARGIN + _TITLE + row * (_HEIGHT + _GAP)


def _box(stage: StageInfo, x: int, y: int, width: int) -> list[svg.Element]:
    whole, top = width - 16, y + _HEIGHT - 14
    good = whole if not stage.total and stage.percent_completed else whole * stage.succeeded // max(1, stage.total)
    bad = whole * (stage.failed + stage.aborted) // max(1, stage.total)
    dashes: Any = [6, 4] if stage.hold else None
    fill = FILLS[stage.status]
    box: list[svg.Element] = [
        svg.Rect(x=x, y=y, width=width, height=_HEIGHT, rx=8, fill=fill, stroke="#333333", stroke_dasharray=dashes),
        svg.Rect(x=x + 8, y=top, width=whole, height=6, fill="#ffffff"),
        svg.Rect(x=x + 8, y=top, width=good, height=6, fill="#2b8a3e"),
        svg.Rect(x=x + 8 + good, y=top, width=bad, height=6, fill="#c92a2a"),
    ]
    for n, line in enumerate(words_of(stage)):
        box.append(_text(line, x + 10, y + 20 + 17 * n, size=12, weight="normal" if n else "bold"))
    return box


def _arrow(before: tuple[int, int], after: tuple[int, int], box: int) -> list[svg.Element]:
    """To the right in a row; from the end of a row down and back to the beginning of the next."""
    (x, y), (end, below) = before, after
    if y == below:
        middle = y + _HEIGHT // 2
        line = svg.Path(d=[svg.M(x + box, middle), svg.H(end - 8)], stroke="#333333", stroke_width=2, fill="none")
        head = [svg.M(end - 10, middle - 5), svg.L(end, middle), svg.L(end - 10, middle + 5), svg.Z()]
    else:
        turn, target = y + _HEIGHT + _GAP // 2, end + box // 2
        way = [svg.M(x + box // 2, y + _HEIGHT), svg.V(turn), svg.H(target), svg.V(below - 8)]
        line = svg.Path(d=way, stroke="#333333", stroke_width=2, fill="none")
        head = [svg.M(target - 5, below - 10), svg.L(target, below), svg.L(target + 5, below - 10), svg.Z()]
    return [line, svg.Path(d=head, fill="#333333")]


def _text_width(text: str, size: int) -> int:
    return round(len(text) * size * _CHARACTER)


def _text(text: str, x: int, y: int, *, size: int, weight: Literal["normal", "bold"]) -> svg.Element:
    return svg.Text(
        x=x, y=y, text=escape(text), font_size=size, font_weight=weight, font_family="sans-serif", fill="#111111"
    )
