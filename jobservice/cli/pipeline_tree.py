"""A pipeline as a tree for people: each stage with its bar, its counts, and what it waits for."""

from dataclasses import dataclass
from textwrap import wrap

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from jobservice.cli.output import coloured, encode, printable, short_date
from jobservice.domain.pipelines import PipelineStatus
from jobservice.sdk.pipeline import PipelineInfo, StageInfo

BAR = 24
"""Cells of a bar."""
_BRANCH = "├─ "
_METADATA = 200
"""Characters shown of user metadata."""
_COUNTS = ("running", "queued", "pending", "succeeded", "failed", "aborted", "retried")


@dataclass(frozen=True)
class PipelineTree:
    """The pipeline and its stages, a line each; more where the window is too narrow."""

    pipeline: PipelineInfo

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines, for the width that there is."""
        pipeline = self.pipeline
        name_width = max((len(stage.name) for stage in pipeline.stages), default=0)
        whole = [_one_line(stage, name_width, _BRANCH)[0].cell_len for stage in pipeline.stages]
        two = max(whole, default=0) > options.max_width
        yield from _head(pipeline, options.max_width)
        yield from (_dim(f"  {each}") for each in _remarks(pipeline))
        for stage in pipeline.stages:
            branch, below = ("└─ ", "   ") if stage is pipeline.stages[-1] else (_BRANCH, "│  ")
            told = _lines(stage, branch, below, options.max_width) if two else _one_line(stage, name_width, branch)
            yield from told
            yield from (_dim(f"{below}   {each}") for each in _stage_remarks(pipeline, stage))


def waits_for(pipeline: PipelineInfo, stage: StageInfo) -> str | None:
    """Why a stage is not open, in words; None where it is, has ended, or its pipeline was not started."""
    if stage.status is not PipelineStatus.PENDING or pipeline.status is PipelineStatus.PENDING:
        return None
    before = [each for each in pipeline.stages if each.position < stage.position and not each.status.final]
    if before:
        return f"waits for stage {before[0].position} ({before[0].name})"
    if stage.hold:
        return f"on hold: `pipeline release {pipeline.pipeline_id} --stage {stage.position}`"
    return "waits for the pipeline to be resumed" if pipeline.paused else None


def _head(pipeline: PipelineInfo, width: int) -> list[Text]:
    head = Text.assemble((printable(pipeline.name), "bold"), "  ", coloured(pipeline.status))
    head.append(f"  {pipeline.percent_completed} %")
    whose = f"  {pipeline.pipeline_id}  tenant {pipeline.tenant}  priority {pipeline.priority}"
    return [head, Text(whose)] if head.cell_len + len(whose) > width else [head.append(whose)]


def _remarks(pipeline: PipelineInfo) -> list[str]:
    said = []
    if pipeline.owner or pipeline.description:
        said.append(printable("  ".join(each for each in (pipeline.owner, pipeline.description) if each)))
    if pipeline.start_date is not None:
        ended = f", ended {short_date(pipeline.stop_date)}" if pipeline.stop_date else ""
        said.append(f"started {short_date(pipeline.start_date)}{ended}")
    if pipeline.status is PipelineStatus.PENDING:
        said.append(f"not started: `pipeline start {pipeline.pipeline_id}`")
    if pipeline.paused and not pipeline.status.final:
        said.append(f"paused, nothing new starts: `pipeline resume {pipeline.pipeline_id}`")
    if pipeline.ending is not None:
        said.append(f"ending {pipeline.ending.value}: its last jobs are being ended")
    if pipeline.open and not pipeline.status.final:
        said.append(f"open, it cannot finish before `pipeline seal {pipeline.pipeline_id}`")
    if pipeline.reason:
        said.append(printable(pipeline.reason))
    if any(stage.failed for stage in pipeline.stages):
        said.append(f"why: `pipeline jobs {pipeline.pipeline_id} --status failed`")
    return [*said, *_metadata(pipeline)]


def _one_line(stage: StageInfo, name_width: int, branch: str) -> list[Text]:
    line = Text.assemble(branch, f"{stage.position} ", (f"{printable(stage.name):{name_width}}", "bold"), "  ")
    line.append_text(_bar(stage)).append(f" {stage.percent_completed:3} %  ")
    return [line.append_text(coloured(stage.status)).append(f"  {_counted(stage)}")]


def _lines(stage: StageInfo, branch: str, below: str, width: int) -> list[Text]:
    line = Text.assemble(branch, f"{stage.position} ", (printable(stage.name), "bold"), "  ")
    line.append_text(coloured(stage.status)).append(f"  {stage.percent_completed} %")
    bar, counted = Text.assemble(f"{below}   ", _bar(stage)), _counted(stage)
    if bar.cell_len + 2 + len(counted) <= width:
        return [line, bar.append(f"  {counted}")]
    return [line, bar, *(Text(f"{below}   {part}") for part in wrap(counted, max(BAR, width - len(below) - 3)))]


def _stage_remarks(pipeline: PipelineInfo, stage: StageInfo) -> list[str]:
    remarks = [waits_for(pipeline, stage), stage.reason if stage.reason != pipeline.reason else None]
    return [*(printable(each) for each in remarks if each), *_metadata(stage)]


def _dim(remark: str) -> Text:
    return Text(remark, style="dim")


def _metadata(of: PipelineInfo | StageInfo) -> list[str]:
    text = printable(encode(of.user_metadata)) if of.user_metadata else ""
    return [f"metadata {text[:_METADATA]}{'…' if len(text) > _METADATA else ''}"] if text else []


def _bar(stage: StageInfo) -> Text:
    """Also without colours what went well is another sign than what did not."""
    if stage.total == 0:
        return Text("·" * BAR, style="dim")
    good = BAR * stage.succeeded // stage.total
    bad = -(-BAR * (stage.failed + stage.aborted) // stage.total)
    bad = min(bad, BAR - good)
    return Text.assemble(("█" * good, "green"), ("▒" * bad, "red"), ("░" * (BAR - good - bad), "dim"))


def _counted(stage: StageInfo) -> str:
    counts = [(name, getattr(stage, name)) for name in _COUNTS]
    jobs = "1 job" if stage.total == 1 else f"{stage.total} jobs"
    return ", ".join([jobs, *(f"{count} {name}" for name, count in counts if count)])
