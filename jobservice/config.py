"""Every setting of JobService: its name, type, default and unit.

The command line and `service.py` read it; nothing below does, parts take plain arguments. It knows what may be set;
where a value comes from is `settings_sources`. `config/jobservice.toml` shows the same settings; a test compares.
"""

import json
import math
import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from jobservice.domain.names import is_name
from jobservice.settings_schedules import ScheduleSection
from jobservice.settings_sources import find_file, load_checked, merge, read_file, refuse_unknown_variables

SLOTS_PER_CORE = 10
RESULT_BYTES_LIMIT = 65_536


def _cores() -> int:
    """The cores this process may use: a container's CPU set counts, not the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _state_directory() -> Path:
    """Where workspaces live when nobody says: the user's state directory, else (no home to write to) under /tmp."""
    stated = os.environ.get("XDG_STATE_HOME")
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where the user has no home
    if stated:
        return Path(stated) / "jobservice" / "workspaces"
    if os.access(home, os.W_OK):
        return home / ".local" / "state" / "jobservice" / "workspaces"
    return Path(tempfile.gettempdir()) / f"jobservice-{os.getuid()}" / "workspaces"


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise ValueError("must be a finite number of seconds")
    return seconds


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("must be letters, digits, - and _, at most 64, beginning with a letter or digit")
    return text


def _identifier(text: str) -> str:
    # Lower case only: the name is written into SQL without quotes, where PostgreSQL folds case.
    if re.fullmatch(r"[a-z_][a-z0-9_]{0,39}", text) is None or text.startswith("pg_"):
        raise ValueError("must be lower-case letters, digits and _, at most 40, not beginning with a digit or pg_")
    return text


def _import_name(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        raise ValueError("must be the import name of a Python package, such as my_jobs or company.jobs")
    return text


def _list_of_text(value: Any) -> Any:
    """A list as TOML gives it, or as a variable holds it: JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('must be a JSON list of strings, such as ["workers"]') from None


def _url(*schemes: str) -> AfterValidator:
    def check(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text

    return AfterValidator(check)


Seconds = Annotated[float, Field(gt=0), AfterValidator(_finite)]
SecondsOrOff = Annotated[float, Field(ge=0), AfterValidator(_finite)]
"""0 turns the thing off, or allows no time at all: TOML has no null."""
Name = Annotated[str, AfterValidator(_name)]
Names = Annotated[tuple[Name, ...], NoDecode, BeforeValidator(_list_of_text)]
Packages = Annotated[tuple[Annotated[str, AfterValidator(_import_name)], ...], NoDecode, BeforeValidator(_list_of_text)]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class DatabaseSection(Section):
    """Where the tables are."""

    schema_name: Annotated[str, AfterValidator(_identifier)] = Field(default="jobservice", alias="schema")
    statement_cache: bool = True


class BrokerSection(Section):
    """What is named how in RabbitMQ."""

    prefix: Annotated[Name, Field(max_length=40)] = "jobservice"


class DaemonSection(Section):
    """One daemon process."""

    queues: Annotated[Names, Field(min_length=1)] = ("default",)
    lease: Seconds = 15.0
    heartbeat: Seconds = 3.0
    poll: Seconds = 1.0
    stuck_after: SecondsOrOff = 300.0
    drain_timeout: SecondsOrOff = 30.0
    max_lost_runs: Annotated[int, Field(ge=1)] = 3
    http_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    processes: Annotated[int, Field(ge=1, le=256)] = 1

    @model_validator(mode="after")
    def _a_lease_outlives_heartbeats(self) -> Self:
        if self.lease < 2 * self.heartbeat:
            raise ValueError("lease must be at least twice heartbeat: one late beat is not a death")
        return self


class PoolSection(Section):
    """The places in which jobs run, of one process. `Settings` puts numbers for the zeros."""

    capacity: Annotated[int, Field(ge=0, le=100_000)] = 0
    threads: Annotated[int, Field(ge=1, le=10_000)] = 32
    processes: Annotated[int, Field(ge=0, le=1_000)] = 0
    step_connections: Annotated[int, Field(ge=1, le=1_000)] = 10
    stop_grace: SecondsOrOff = 10.0


class JobsSection(Section):
    """Job classes."""

    packages: Packages = ()
    completion_update_interval: Seconds = 1.0


class BreakerSection(Section):
    """When a job class that fails too often is held."""

    window: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5


class RetentionSection(Section):
    """How long ended jobs are kept, and pending ones that nobody releases."""

    succeeded: SecondsOrOff = 86_400.0
    failed: SecondsOrOff = 2_592_000.0
    pending: SecondsOrOff = 0.0
    instances: SecondsOrOff = 31_536_000.0


class EventsSection(Section):
    """What is published."""

    submissions: bool = False
    result_max_bytes: Annotated[int, Field(ge=0, le=RESULT_BYTES_LIMIT)] = 16_384


class TenantsSection(Section):
    """Who may submit."""

    closed: bool = False


class SubmissionSection(Section):
    """What a submission may be."""

    max_bytes: Annotated[int, Field(ge=1_024)] = 8_388_608


class WorkspaceSection(Section):
    """Where jobs' private directories are made, and how full their disk may be."""

    directory: Path = Path()
    warn_percent: Annotated[float, Field(ge=0, le=100)] = 80.0
    pause_percent: Annotated[float, Field(ge=0, le=100)] = 90.0
    tenant_max_bytes: Annotated[int, Field(ge=0)] = 0

    @field_validator("directory")
    @classmethod
    def _by_user(cls, directory: Path) -> Path:
        return directory.expanduser() if directory != Path() else _state_directory()


class LogsSection(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """All settings, frozen. `Settings()` is the defaults; `Settings.load()` reads file, environment and flags."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        env_prefix="JOBSERVICE_",
        env_nested_delimiter="__",
        # A composition passes a variable that its user left out as an empty one.
        env_ignore_empty=True,
    )

    # URLs hold passwords: never in a repr.
    database_url: Annotated[str, _url("postgresql", "postgres")] | None = Field(default=None, repr=False)
    amqp_url: Annotated[str, _url("amqp", "amqps")] | None = Field(default=None, repr=False)
    database: DatabaseSection = DatabaseSection()
    broker: BrokerSection = BrokerSection()
    daemon: DaemonSection = DaemonSection()
    pool: PoolSection = PoolSection()
    jobs: JobsSection = JobsSection()
    breaker: BreakerSection = BreakerSection()
    retention: RetentionSection = RetentionSection()
    events: EventsSection = EventsSection()
    tenants: TenantsSection = TenantsSection()
    submission: SubmissionSection = SubmissionSection()
    workspace: WorkspaceSection = WorkspaceSection()
    logs: LogsSection = LogsSection()
    schedule: dict[Name, ScheduleSection] = Field(default_factory=dict)

    @field_validator("pool")
    @classmethod
    def _by_cores(cls, pool: PoolSection, info: ValidationInfo) -> PoolSection:
        """The cores are shared out over the processes: what nobody chose fits the machine, however many there are."""
        if "daemon" not in info.data:
            return pool  # wrong itself
        cores = math.ceil(_cores() / info.data["daemon"].processes)
        chosen = {"capacity": pool.capacity or SLOTS_PER_CORE * cores, "processes": pool.processes or cores}
        return pool.model_copy(update=chosen)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what is passed: `load` reads the sources itself, so that an error can name its source."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @classmethod
    def load(cls, config: Path | None = None, overrides: dict[str, Any] | None = None) -> "Settings":
        """Settings from flags (`overrides`, nested), over the environment, over the file, over the defaults.

        Raises ConfigurationError with one line for each wrong setting; no line holds a value that may be a secret.
        """
        refuse_unknown_variables(cls, os.environ)
        path = find_file(config, os.environ)
        sources = {
            "flag": overrides or {},
            "environment": dict(EnvSettingsSource(cls)()),
            str(path): read_file(path, cls) if path else {},
        }
        return load_checked(cls, merge(*reversed(sources.values())), sources)
