"""A pipeline's stages as a picture: Mermaid for a page, SVG for everything else. Both show how it stands."""

from typing import Literal
from xml.sax.saxutils import escape

import svg

from jobservice.cli.output import printable
from jobservice.domain.pipelines import PipelineStatus
from jobservice.sdk.pipeline import PipelineInfo, StageInfo

_FILLS = {
    PipelineStatus.PENDING: "#eeeeee",
    PipelineStatus.QUEUED: "#d0ebff",
    PipelineStatus.RUNNING: "#74c0fc",
    PipelineStatus.SUCCEEDED: "#b2f2bb",
    PipelineStatus.FAILED: "#ffa8a8",
    PipelineStatus.ABORTED: "#eebefa",
}
_WIDTH, _HEIGHT, _GAP, _MARGIN = 190, 84, 46, 20


def as_mermaid(pipeline: PipelineInfo) -> str:
    """A flowchart, left to right; a stage on hold is a hexagon."""
    lines = ["flowchart LR", f"  %% {printable(pipeline.name)} {pipeline.pipeline_id} {pipeline.status}"]
    for stage in pipeline.stages:
        left, right = ("{{", "}}") if stage.hold else ("[", "]")
        text = "<br/>".join(_lines(stage))
        lines.append(f'  s{stage.position}{left}"{text}"{right}:::{stage.status.lower()}')
    lines += [f"  s{before.position} --> s{after.position}" for before, after in _pairs(pipeline)]
    lines += [f"  classDef {status.lower()} fill:{fill},stroke:#333333" for status, fill in _FILLS.items()]
    return "\n".join(lines)


def as_svg(pipeline: PipelineInfo) -> str:
    """The same as a document of its own."""
    count = max(1, len(pipeline.stages))
    width = 2 * _MARGIN + count * _WIDTH + (count - 1) * _GAP
    height = 2 * _MARGIN + 30 + _HEIGHT
    title = f"{printable(pipeline.name)}  {pipeline.status}  {pipeline.percent_completed} %"
    elements: list[svg.Element] = [
        svg.Rect(x=0, y=0, width=width, height=height, fill="#ffffff"),
        _text(title, _MARGIN, _MARGIN + 12, size=15, weight="bold"),
    ]
    for n, stage in enumerate(pipeline.stages):
        elements += _box(stage, _MARGIN + n * (_WIDTH + _GAP), _MARGIN + 30)
    for n, _ in enumerate(_pairs(pipeline)):
        elements += _arrow(_MARGIN + (n + 1) * _WIDTH + n * _GAP, _MARGIN + 30 + _HEIGHT // 2)
    return str(svg.SVG(viewBox=svg.ViewBoxSpec(0, 0, width, height), width=width, height=height, elements=elements))


def _pairs(pipeline: PipelineInfo) -> list[tuple[StageInfo, StageInfo]]:
    return list(zip(pipeline.stages, pipeline.stages[1:], strict=False))


def _lines(stage: StageInfo) -> list[str]:
    ended = stage.succeeded + stage.failed + stage.aborted
    done = f"{ended} of {stage.total} jobs, {stage.percent_completed} %"
    bad = [f"{count} {name}" for name, count in (("failed", stage.failed), ("aborted", stage.aborted)) if count]
    hold = ["on hold"] if stage.hold else []
    name = printable(stage.name).replace('"', "'")
    return [f"{stage.position} {name}", str(stage.status), ", ".join([done, *bad, *hold])]


def _box(stage: StageInfo, x: int, y: int) -> list[svg.Element]:
    fill = _FILLS[stage.status]
    done = _WIDTH * stage.percent_completed // 100
    box: list[svg.Element] = [
        svg.Rect(x=x, y=y, width=_WIDTH, height=_HEIGHT, rx=8, fill=fill, stroke="#333333"),
        svg.Rect(x=x + 8, y=y + _HEIGHT - 14, width=_WIDTH - 16, height=6, rx=3, fill="#ffffff"),
        svg.Rect(x=x + 8, y=y + _HEIGHT - 14, width=max(0, done - 16), height=6, rx=3, fill="#2b8a3e"),
    ]
    for n, line in enumerate(_lines(stage)):
        box.append(_text(line, x + 10, y + 20 + 17 * n, size=12, weight="normal" if n else "bold"))
    return box


def _arrow(x: int, y: int) -> list[svg.Element]:
    end = x + _GAP
    return [
        svg.Line(x1=x, y1=y, x2=end - 8, y2=y, stroke="#333333", stroke_width=2),
        svg.Path(d=[svg.M(end - 10, y - 5), svg.L(end, y), svg.L(end - 10, y + 5), svg.Z()], fill="#333333"),
    ]


def _text(text: str, x: int, y: int, *, size: int, weight: Literal["normal", "bold"]) -> svg.Element:
    return svg.Text(
        x=x, y=y, text=escape(text), font_size=size, font_weight=weight, font_family="sans-serif", fill="#111111"
    )
