"""A pipeline's stages as text for a page: Mermaid. The picture beside it is in `pipeline_picture`."""

from jobservice.cli.output import printable
from jobservice.domain.pipelines import PipelineStatus
from jobservice.sdk.pipeline import PipelineInfo, StageInfo

FILLS = {
    PipelineStatus.PENDING: "#eeeeee",
    PipelineStatus.QUEUED: "#d0ebff",
    PipelineStatus.RUNNING: "#74c0fc",
    PipelineStatus.SUCCEEDED: "#b2f2bb",
    PipelineStatus.FAILED: "#ffa8a8",
    PipelineStatus.ABORTED: "#eebefa",
}


def as_mermaid(pipeline: PipelineInfo) -> str:
    """A flowchart, left to right; a stage on hold is a hexagon."""
    lines = ["flowchart LR", f"  %% {printable(pipeline.name)} {pipeline.pipeline_id} {pipeline.status}"]
    for stage in pipeline.stages:
        left, right = ("{{", "}}") if stage.hold else ("[", "]")
        text = "<br/>".join(words_of(stage))
        lines.append(f'  s{stage.position}{left}"{text}"{right}:::{stage.status.lower()}')
    pairs = zip(pipeline.stages, pipeline.stages[1:], strict=False)
    lines += [f"  s{before.position} --> s{after.position}" for before, after in pairs]
    lines += [f"  classDef {status.lower()} fill:{fill},stroke:#333333" for status, fill in FILLS.items()]
    return "\n".join(lines)


def words_of(stage: StageInfo) -> list[str]:
    """What is written into a stage's box, line by line."""
    ended = stage.succeeded + stage.failed + stage.aborted
    done = f"{ended} of {stage.total} jobs, {stage.percent_completed} %"
    bad = [f"{count} {name}" for name, count in (("failed", stage.failed), ("aborted", stage.aborted)) if count]
    hold = ["on hold"] if stage.hold else []
    name = printable(stage.name).replace('"', "'")
    return [f"{stage.position} {name}", str(stage.status), ", ".join([done, *bad, *hold])]
