"""The steps of a job as a tree for people: bars, counts, positions, durations, causes."""

import json

from rich.console import Group, RenderableType
from rich.text import Text

from jobservice.cli.output import coloured, printable
from jobservice.client.instances import InstanceInfo, StepInfo

BAR = 24
PARTS_SHOWN = 20
_COUNTS = ("read", "filtered", "written", "skipped", "commits", "rollbacks")


def steps_of(instance: InstanceInfo) -> RenderableType:
    """A line for each step and part that has been begun; of many parts those that are not complete first."""
    generation = f", generation {instance.generation}" if instance.generation > 1 else ""
    executed = f", executed by {len(instance.jobs)} jobs" if len(instance.jobs) > 1 else ""
    lines = [Text(f"instance {instance.instance_id}{generation}{executed}", style="dim")]
    wholes = [step for step in instance.steps if step.part is None]
    for n, step in enumerate(wholes):
        branch, below = ("└─ ", "   ") if n == len(wholes) - 1 else ("├─ ", "│  ")
        parts = [part for part in instance.steps if part.step == step.step and part.part is not None]
        lines += _lines(branch, below, printable(step.step), step)
        shown = sorted(parts, key=lambda part: (part.status == "SUCCEEDED", part.part))[:PARTS_SHOWN]
        for part in sorted(shown, key=lambda part: part.part or 0):
            lines += _lines(f"{below}  ", f"{below}  ", f"part {part.part}", part)
        if len(parts) > PARTS_SHOWN:
            lines.append(Text(f"{below}  and {len(parts) - PARTS_SHOWN} more parts", style="dim"))
    return Group(*lines)


def _lines(branch: str, below: str, name: str, step: StepInfo) -> list[Text]:
    line = Text.assemble(branch, (f"{name:12}", "bold"), " ", _bar(step), "  ")
    counts = [(count, getattr(step, count)) for count in _COUNTS]
    told = [f"{number:,} {count}" for count, number in counts if number]
    if step.position is not None and step.status != "SUCCEEDED":
        told.append(f"at {printable(json.dumps(step.position, ensure_ascii=False))}")
    if step.start_date is not None and step.stop_date is not None:
        told.append(f"{(step.stop_date - step.start_date).total_seconds():,.1f} s")
    line.append_text(coloured(step.status)).append(f"  {', '.join(told)}")
    remarks = [f"{step.error_type}: {step.error_message}" if step.error_type else None, step.exit_description]
    return [line, *(Text(f"{below}   {printable(each)}", style="dim") for each in remarks if each)]


def _bar(step: StepInfo) -> Text:
    if step.status in ("SUCCEEDED", "SKIPPED"):
        return Text("█" * BAR, style="green")
    done = step.read
    if not step.expected:
        return Text(("▒" if done else "░") * BAR, style="dim")
    filled = min(BAR, BAR * done // step.expected)
    return Text.assemble(("█" * filled, "red" if step.status == "FAILED" else "blue"), ("░" * (BAR - filled), "dim"))
