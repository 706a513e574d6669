"""Between rows of the table and values: what a schedule is defined by, and what is known of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from jobservice.domain.schedule_definition import Definition
from jobservice.domain.schedules import CatchUp, Overlap
from jobservice.sdk.json_values import dump


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A schedule as it stands. `class_known` is None for a pipeline, whose stages name classes of their own."""

    tenant: str
    name: str
    job: dict[str, Any] | None
    pipeline: dict[str, Any] | None
    cron: str | None
    every: int | None
    time_zone: str
    catch_up: str
    catch_up_within: int
    overlap: str
    source: str
    paused: bool
    pause_reason: str | None
    next_fire_date: datetime | None
    last_fire_date: datetime | None
    last_job_id: UUID | None
    last_pipeline_id: UUID | None
    last_status: str | None
    """Of what the last tick submitted; None where there is none, or it has been cleaned away."""
    fired: int
    missed: int
    last_missed_date: datetime | None
    last_missed_reason: str | None
    error: str | None
    class_known: bool | None
    created_date: datetime
    updated_date: datetime


def definition_of(row: Mapping[str, Any]) -> Definition:
    """What a row is defined by."""
    return Definition(
        tenant=row["tenant"],
        name=row["name"],
        job=_object(row["job"]),
        pipeline=_object(row["pipeline"]),
        cron=row["cron"],
        every=row["every"],
        time_zone=row["time_zone"],
        catch_up=CatchUp(row["catch_up"]),
        catch_up_within=row["catch_up_within"],
        overlap=Overlap(row["overlap"]),
    )


def columns_of(definition: Definition) -> dict[str, Any]:
    """The other way round: by the names of the columns."""
    return {
        "tenant": definition.tenant,
        "name": definition.name,
        "job": None if definition.job is None else dump(definition.job),
        "pipeline": None if definition.pipeline is None else dump(definition.pipeline),
        "cron": definition.cron,
        "every": definition.every,
        "time_zone": definition.time_zone,
        "catch_up": definition.catch_up.value,
        "catch_up_within": definition.catch_up_within,
        "overlap": definition.overlap.value,
    }


def schedule_of(row: Mapping[str, Any]) -> ScheduleRow:
    """A row of `find`."""
    return ScheduleRow(**{**row, "job": _object(row["job"]), "pipeline": _object(row["pipeline"])})


def _object(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)
