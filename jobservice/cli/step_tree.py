"""The steps of a job as a tree for people: bars, counts, positions, durations, causes, and the runs of each."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from jobservice.cli.output import coloured, printable
from jobservice.client.instances import InstanceInfo, StepInfo, StepRunInfo

BAR = 24
PARTS_SHOWN = 20
RUNS_SHOWN = 5
ERROR_MAX = 200
"""Characters of the error of one run; the step has the last one whole."""
_COUNTS = ("read", "filtered", "written", "skipped", "commits", "rollbacks")
_DAEMON = 8
"""Characters of a daemon's id, which are random: enough to tell daemons apart, and to find one."""


_Runs = Mapping[tuple[str, int | None], Sequence[str]]
"""What is told of the runs of a step or a part."""


@dataclass(frozen=True)
class StepTree:
    """A line for each step and part that has been begun, more where the window is too narrow.

    Of many parts those that are not complete come first. Runs are told of what ran more than once; with `every_run`
    of all.
    """

    instance: InstanceInfo
    every_run: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines, for the width that there is."""
        instance, width = self.instance, options.max_width
        generation = f", generation {instance.generation}" if instance.generation > 1 else ""
        executed = f", executed by {len(instance.jobs)} jobs" if len(instance.jobs) > 1 else ""
        yield Text(f"instance {instance.instance_id}{generation}{executed}", style="dim")
        last, runs = {(run.step, run.part): run for run in instance.runs}, self._runs()
        steps = [_as_ended(step, last.get((step.step, step.part))) for step in instance.steps]
        wholes = [step for step in steps if step.part is None]
        for n, step in enumerate(wholes):
            branch, below = ("└─ ", "   ") if n == len(wholes) - 1 else ("├─ ", "│  ")
            yield from _lines(_named(branch, printable(step.step)), below, step, runs, width)
            parts = [part for part in steps if part.step == step.step and part.part is not None]
            parts.sort(key=lambda part: (part.status == "SUCCEEDED", not runs.get((part.step, part.part))))
            shown = parts[:PARTS_SHOWN]
            for part in sorted(shown, key=lambda part: part.part or 0):
                yield from _lines(_named(f"{below}  ", f"part {part.part}"), f"{below}  ", part, runs, width)
            if len(parts) > PARTS_SHOWN:
                yield Text(f"{below}  and {len(parts) - PARTS_SHOWN} more parts", style="dim")

    def _runs(self) -> _Runs:
        by_step: defaultdict[tuple[str, int | None], list[StepRunInfo]] = defaultdict(list)
        for run in self.instance.runs:
            by_step[run.step, run.part].append(run)
        return {key: self._told_runs(runs) for key, runs in by_step.items()}

    def _told_runs(self, runs: list[StepRunInfo]) -> list[str]:
        if self.every_run:
            return _run_lines(runs)
        # A step that waited for its parts ran twice, and there is nothing to tell of it.
        worth = [run for run in runs if run.status != "PARKED"]
        if len(worth) < 2:
            return []
        earlier = len(worth) - RUNS_SHOWN
        return [*([f"{earlier} earlier runs: show --runs"] if earlier > 0 else []), *_run_lines(worth[-RUNS_SHOWN:])]


def _as_ended(step: StepInfo, last: StepRunInfo | None) -> StepInfo:
    """One that is to be gone on with does not run: its last run was ABORTED, say."""
    is_left = step.status == "STARTED" and last is not None and last.status in ("ABORTED", "HANDED_BACK")
    return replace(step, status=last.status) if last is not None and is_left else step


def _named(branch: str, name: str) -> Text:
    return Text.assemble(branch, (f"{name:12}", "bold"), " ")


def _lines(line: Text, below: str, step: StepInfo, runs: _Runs, width: int) -> list[Text]:
    line.append_text(_bar(step)).append("  ").append_text(coloured(step.status))
    told = ", ".join(_told(step))
    remarks = [f"{step.error_type}: {step.error_message}" if step.error_type else None, step.exit_description]
    said = [printable(each) for each in remarks if each]
    if told and line.cell_len + 2 + len(told) > width:
        said.insert(0, told)
    elif told:
        line.append(f"  {told}")
    said += runs.get((step.step, step.part), ())
    return [line, *(each for text in said for each in _indented(text, f"{below}   ", width))]


def _told(step: StepInfo) -> list[str]:
    told = _counted(step)
    if step.position is not None and step.status != "SUCCEEDED":
        told.append(f"at {printable(json.dumps(step.position, ensure_ascii=False))}")
    if step.start_date is not None and step.stop_date is not None:
        told.append(f"{(step.stop_date - step.start_date).total_seconds():,.1f} s")
    return told


def _run_lines(runs: Sequence[StepRunInfo]) -> list[str]:
    several = len({run.job_id for run in runs}) > 1
    lines = []
    for run in runs:
        line = f"run {run.run} {run.status}"
        if run.daemon_id is not None:
            line += f" on daemon {str(run.daemon_id)[:_DAEMON]}"
        if run.end_date is not None:
            line += f" after {(run.end_date - run.start_date).total_seconds():,.1f} s"
        if several:
            line += f" of job {run.job_id}"
        counts = _counted(run)
        said = [*([", ".join(counts)] if counts else []), *([_error_of(run)] if run.error_type else [])]
        lines.append(": ".join([line, "; ".join(said)]) if said else line)
    return lines


def _error_of(run: StepRunInfo) -> str:
    text = printable(f"{run.error_type}: {run.error_message}")
    return text if len(text) <= ERROR_MAX else f"{text[:ERROR_MAX]}…"


def _counted(of: StepInfo | StepRunInfo) -> list[str]:
    counts = [(count, getattr(of, count)) for count in _COUNTS]
    return [f"{number:,} {count}" for count, number in counts if number]


def _indented(text: str, indent: str, width: int) -> list[Text]:
    return [Text(f"{indent}{line}", style="dim") for line in wrap(text, max(BAR, width - len(indent)))]


def _bar(step: StepInfo) -> Text:
    if step.status in ("SUCCEEDED", "SKIPPED"):
        return Text("█" * BAR, style="green")
    done = step.read
    if not step.expected:
        return Text(("▒" if done else "░") * BAR, style="dim")
    filled = min(BAR, BAR * done // step.expected)
    return Text.assemble(("█" * filled, "red" if step.status == "FAILED" else "blue"), ("░" * (BAR - filled), "dim"))
