"""The commands on schedules."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jobservice.control.members import Command, Name, given, written, wrong
from jobservice.domain.cron import EVERY_MAX, EXPRESSION_MAX
from jobservice.domain.schedule_definition import WITHIN_MAX
from jobservice.domain.schedules import CatchUp, Overlap


class AddSchedule(Command):
    """A new schedule of a tenant; or, with `replace`, what one of this name is from now on."""

    model_config = written(
        {"oneOf": [given("job"), given("pipeline")]},
        {"oneOf": [given("cron"), given("every")]},
    )

    command: Literal["add_schedule"]
    schedule: Name
    job: dict[str, Any] | None = None
    """As it is submitted; its texts may hold `{fire_date}`, `{fire_date:%Y-%m-%d}`, `{schedule}`."""
    pipeline: dict[str, Any] | None = None
    cron: Annotated[str, Field(max_length=EXPRESSION_MAX)] | None = None
    every: Annotated[int, Field(ge=1, le=EVERY_MAX)] | None = None
    time_zone: Annotated[str, Field(max_length=255)] = "UTC"
    catch_up: CatchUp = CatchUp.ONCE
    catch_up_within: Annotated[int, Field(ge=0, le=WITHIN_MAX)] = 86_400
    overlap: Overlap = Overlap.ALLOW
    paused: bool = False
    replace: bool = False

    @model_validator(mode="after")
    def _one_of_each(self) -> "AddSchedule":
        if (self.job is None) == (self.pipeline is None):
            raise wrong("job", "either job or pipeline is required")
        if (self.cron is None) == (self.every is None):
            raise wrong("cron", "either cron or every is required")
        return self


class ChangeSchedule(Command):
    """Pause, resume or remove a schedule, or submit a tick of this moment."""

    command: Literal["pause_schedule", "resume_schedule", "remove_schedule", "run_schedule"]
    schedule: Name


OnSchedule = AddSchedule | ChangeSchedule
