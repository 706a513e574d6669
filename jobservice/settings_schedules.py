"""One `[schedule.<name>]` table of the configuration file: what may stand in it, and what schedule it defines."""

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, model_validator

from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import DEFAULT_TENANT
from jobservice.domain.schedule_definition import Definition
from jobservice.domain.schedules import CatchUp, Overlap
from jobservice.sdk.json_values import PARAMETERS_DEPTH_MAX, NotJson, to_plain

_OF_THE_JOB: Final = (
    "job_class",
    "queue",
    "parameters",
    "priority",
    "description",
    "owner",
    "timeout",
    "max_attempts",
    "concurrency_key",
    "correlation_id",
    "user_metadata",
    "locked",
)


class ScheduleSection(BaseModel):
    """A job with its timing; or a timing and a `pipeline` table, which is a pipeline as it is submitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = DEFAULT_TENANT
    cron: str | None = None
    every: int | None = None
    time_zone: str = "UTC"
    catch_up: CatchUp = CatchUp.ONCE
    catch_up_within: int = 86_400
    overlap: Overlap = Overlap.ALLOW
    pipeline: dict[str, Any] | None = None
    job_class: str | None = None
    queue: str | None = None
    parameters: dict[str, Any] | None = None
    priority: int | str | None = None
    description: str | None = None
    owner: str | None = None
    timeout: float | None = None
    max_attempts: int | None = None
    concurrency_key: str | None = None
    correlation_id: str | None = None
    user_metadata: dict[str, Any] | None = None
    locked: bool | None = None

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        try:
            self.definition("sample").checked()
        except InvalidSubmission as error:
            raise ValueError(str(error)) from None
        return self

    def definition(self, name: str) -> Definition:
        """The schedule of this name. Raises InvalidSubmission for what JSON cannot carry."""
        given = {field: getattr(self, field) for field in _OF_THE_JOB if getattr(self, field) is not None}
        if self.pipeline is None and "job_class" not in given:
            raise InvalidSubmission("job_class: is required, unless there is a pipeline", field="job_class")
        return Definition(
            tenant=self.tenant,
            name=name,
            job=_plain(given) if given else None,
            pipeline=None if self.pipeline is None else _plain(self.pipeline),
            cron=self.cron,
            every=self.every,
            time_zone=self.time_zone,
            catch_up=self.catch_up,
            catch_up_within=self.catch_up_within,
            overlap=self.overlap,
        )


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """Dates of TOML become texts, and so on."""
    try:
        plain: dict[str, Any] = to_plain(document, PARAMETERS_DEPTH_MAX + 2)
    except NotJson as error:
        raise InvalidSubmission(str(error)) from None
    return plain
