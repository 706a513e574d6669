"""Between rows of the table and values: what a schedule is defined by, and what is known of it."""

import json
from collections.abc import Mapping
from typing import Any

from jobservice.domain.schedule_definition import Definition
from jobservice.domain.schedules import CatchUp, Overlap
from jobservice.sdk.json_values import dump
from jobservice.sdk.schedule import ScheduleInfo


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


def schedule_of(row: Mapping[str, Any]) -> ScheduleInfo:
    """A row of `find`."""
    return ScheduleInfo(**{**row, "job": _object(row["job"]), "pipeline": _object(row["pipeline"])})


def _object(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)
