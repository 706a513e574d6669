"""A pipeline as a tree for people: each stage with its bar, its counts, and what it waits for."""

from rich.console import Group, RenderableType
from rich.text import Text

from jobservice.cli.output import coloured, printable, short_date
from jobservice.domain.pipelines import PipelineStatus
from jobservice.sdk.pipeline import PipelineInfo, StageInfo

BAR = 24
"""Cells of a bar."""
_COUNTS = ("running", "queued", "pending", "succeeded", "failed", "aborted", "retried")


def tree_of(pipeline: PipelineInfo) -> RenderableType:
    """The pipeline and its stages, one line each, and a line more for what is out of the ordinary."""
    lines = [_head(pipeline), *_remarks(pipeline)]
    last = len(pipeline.stages) - 1
    for n, stage in enumerate(pipeline.stages):
        lines.extend(_stage(pipeline, stage, last=n == last))
    return Group(*lines)


def waits_for(pipeline: PipelineInfo, stage: StageInfo) -> str | None:
    """Why a stage is not open, in words; None where it is, or has ended."""
    if stage.status is not PipelineStatus.PENDING:
        return None
    before = [each for each in pipeline.stages if each.position < stage.position and not each.status.final]
    if pipeline.status is PipelineStatus.PENDING:
        return "the pipeline was not started: `pipeline start`"
    if before:
        return f"waits for stage {before[0].position} ({before[0].name})"
    if stage.hold:
        return f"on hold: `pipeline release {pipeline.pipeline_id} --stage {stage.position}`"
    return "the pipeline is paused: `pipeline resume`" if pipeline.paused else None


def _head(pipeline: PipelineInfo) -> Text:
    return Text.assemble(
        (printable(pipeline.name), "bold"),
        "  ",
        coloured(pipeline.status),
        f"  {pipeline.percent_completed} %  {pipeline.pipeline_id}  tenant {pipeline.tenant}",
        f"  priority {pipeline.priority}",
    )


def _remarks(pipeline: PipelineInfo) -> list[Text]:
    said = []
    if pipeline.start_date is not None:
        ended = f", ended {short_date(pipeline.stop_date)}" if pipeline.stop_date else ""
        said.append(f"started {short_date(pipeline.start_date)}{ended}")
    if pipeline.paused:
        said.append("paused: nothing new starts")
    if pipeline.ending is not None:
        said.append(f"ending {pipeline.ending.value}: its last jobs are being ended")
    if pipeline.open and not pipeline.status.final:
        said.append("open: it cannot finish before `pipeline seal`")
    if pipeline.reason:
        said.append(printable(pipeline.reason))
    return [Text(f"  {each}", style="dim") for each in said]


def _stage(pipeline: PipelineInfo, stage: StageInfo, *, last: bool) -> list[Text]:
    branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
    name = (printable(stage.name), "bold")
    line = Text.assemble(branch, f"{stage.position} ", name, "  ", _bar(stage), f" {stage.percent_completed:3} %  ")
    line.append_text(coloured(stage.status)).append(f"  {_counted(stage)}")
    remarks = [waits_for(pipeline, stage), stage.reason if stage.reason != pipeline.reason else None]
    return [line, *(Text(f"{below}   {printable(each)}", style="dim") for each in remarks if each)]


def _bar(stage: StageInfo) -> Text:
    if stage.total == 0:
        return Text("·" * BAR, style="dim")
    good = BAR * stage.succeeded // stage.total
    bad = -(-BAR * (stage.failed + stage.aborted) // stage.total)
    bad = min(bad, BAR - good)
    return Text.assemble(("█" * good, "green"), ("█" * bad, "red"), ("░" * (BAR - good - bad), "dim"))


def _counted(stage: StageInfo) -> str:
    counts = [(name, getattr(stage, name)) for name in _COUNTS]
    jobs = "1 job" if stage.total == 1 else f"{stage.total} jobs"
    return ", ".join([jobs, *(f"{count} {name}" for name, count in counts if count)])
