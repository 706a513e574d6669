"""What a pipeline's file would make, drawn before it is submitted. The service's rules are not tried here."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from jobservice.cli.exits import BadUsage
from jobservice.cli.output import printable


def plan_of(pipeline: Mapping[str, Any]) -> Tree:
    """The stages and how many jobs of which class each has. Raises BadUsage for what is no pipeline."""
    stages = pipeline.get("stages") or []
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise BadUsage("stages must be a list of objects")
    held = " (held until it is started)" if pipeline.get("status") == "PENDING" else ""
    tenant = pipeline.get("tenant") or "default"
    counted = "1 stage" if len(stages) == 1 else f"{len(stages)} stages"
    tree = Tree(Text(printable(f"{pipeline.get('name')}  tenant {tenant}, {counted}{held}"), style="bold"))
    for position, stage in enumerate(stages, start=1):
        tree.add(Text(printable(_described(position, stage))))
    return tree


def _described(position: int, stage: Mapping[str, Any]) -> str:
    jobs = stage.get("jobs") or []
    if not isinstance(jobs, list):
        raise BadUsage(f"stages[{position - 1}].jobs must be a list")
    classes = Counter(str(job.get("job_class", stage.get("job_class"))) for job in jobs if isinstance(job, dict))
    told = ", ".join(f"{count} of {name}" for name, count in classes.items()) or "no jobs"
    marks = [word for word, on in (("on hold", stage.get("hold")), ("open", stage.get("open"))) if on]
    if stage.get("on_failure"):
        marks.append(str(stage["on_failure"]))
    return f"{position} {stage.get('name', f'stage-{position}')}: {told}" + (f" ({', '.join(marks)})" if marks else "")
