"""Owns what the author of a job with steps writes: Task, Chunk, policies, listeners, and what their functions see.

docs/steps.md says what each promises. Nothing here talks to a server: `jobservice.steps` runs it.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from jobservice.domain.errors import DefinitionError
from jobservice.domain.retry import Backoff, ExponentialBackoff
from jobservice.sdk.job_info import JobInfo

Errors = type[BaseException] | tuple[type[BaseException], ...]


class NotIdentifying:
    """Marks a parameter that does not tell one instance from another: `note: Annotated[str, NotIdentifying] = ""`."""


@dataclass(slots=True)
class At:
    """One item of a source, and the position from which reading goes on behind it: any JSON value.

    Not frozen: of each item one is made, and a frozen one takes three times as long.
    """

    position: Any
    item: Any = None
    error: BaseException | None = None
    """Why the item could not be read: a skip policy decides."""


@dataclass(frozen=True, slots=True)
class Range:
    """One part of a source as its plan made it: any JSON values, None where it is open."""

    low: Any = None
    high: Any = None


@dataclass(frozen=True, slots=True)
class Partition:
    """Which part a function works on; the only one of one where the step has no partitions."""

    index: int = 0
    count: int = 1
    low: Any = None
    """As the plan has it: None where the part is open, and of a step without partitions that has no plan."""
    high: Any = None


class UnplannedPartition(Partition):
    """One of a step that has partitions and no plan: it knows which one it is, and no bounds.

    Asked for them it raises: None would mean that it is open, or in SQL that it has no row at all.
    """

    def __init__(self, index: int, count: int) -> None:
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "count", count)

    def __repr__(self) -> str:
        return f"UnplannedPartition(index={self.index}, count={self.count})"

    @property
    def low(self) -> Any:
        """Raises DefinitionError."""
        raise DefinitionError(_UNPLANNED)

    @property
    def high(self) -> Any:
        """Raises DefinitionError."""
        raise DefinitionError(_UNPLANNED)


_UNPLANNED: Final = (
    "this step has partitions and no plan that says where each begins and ends: give the Chunk a `plan`, or let `read`"
    " go by context.partition.index and context.partition.count"
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Tries an item's processing, a chunk's writing or a task again, up to `times` times more."""

    on: Errors = Exception
    times: int = 3
    backoff: Backoff | float = field(default_factory=ExponentialBackoff)


@dataclass(frozen=True, slots=True)
class SkipPolicy:
    """Leaves out items that cannot be read, processed or written, up to `limit` in a step (of a part, in each part)."""

    on: Errors
    limit: int


@dataclass(slots=True)
class Counts:
    """What a step has done, over all its runs; committed with each chunk."""

    read: int = 0
    filtered: int = 0
    written: int = 0
    skipped: int = 0
    commits: int = 0
    rollbacks: int = 0


@dataclass(frozen=True, slots=True)
class PartResult:
    """A part that has succeeded, for `aggregate`."""

    index: int
    low: Any
    high: Any
    counts: Counts
    state: Mapping[str, Any]


class StepContext(Protocol):
    """What the functions of a step see."""

    job: Any
    """The job: its parameters are fields of it."""
    partition: Partition
    counts: Counts
    state: MutableMapping[str, Any]
    """Of this step (and part), JSON values: kept with each commit; after a failure as it was at the last one."""
    shared: MutableMapping[str, Any]
    """Of the whole job: kept when a step ends. JSON values."""
    exit_description: str | None

    @property
    def info(self) -> JobInfo: ...
    @property
    def log(self) -> FilteringBoundLogger: ...
    @property
    def connection(self) -> Any:
        """An asyncpg connection: to a reader one of its own, to a writer that of the chunk's transaction."""

    @property
    def chunk_key(self) -> str:
        """The same for each attempt at this chunk, and for no other: for writers outside the database."""

    @property
    def workspace(self) -> Path: ...
    @property
    def stop_requested(self) -> bool: ...


class Listener:
    """Hooks of a job or a step; override what you need. What one raises is logged and harms nothing.

    Whatever had its `before_…` gets its `after_…`, too. All may be async.
    """

    def before_job(self, context: StepContext) -> Any:
        """Before the first step of a run."""

    def after_job(self, context: StepContext, error: BaseException | None) -> Any:
        """After the last step that ran; `error` where the run failed, a JobAborted where it was stopped or handed back,
        or waits for the parts of a step, to go on in another run."""

    def before_step(self, context: StepContext, step: str) -> Any:
        """Not for steps that are complete. Of one in parts before they run, and again before they are aggregated."""

    def after_step(self, context: StepContext, step: str, error: BaseException | None) -> Any:
        """After its end was stored, or after it failed."""

    def before_part(self, context: StepContext, step: str) -> Any:
        """In the run of one part."""

    def after_part(self, context: StepContext, step: str, error: BaseException | None) -> Any:
        """In the run of one part."""

    def before_chunk(self, context: StepContext) -> Any:
        """Inside the chunk's transaction, before its items are processed."""

    def after_chunk(self, context: StepContext) -> Any:
        """After the commit."""

    def on_chunk_error(self, context: StepContext, error: BaseException) -> Any:
        """After the rollback, in the place of `after_chunk`."""

    def on_skip(self, context: StepContext, where: str, item: Any, error: BaseException) -> Any:
        """An item was left out. `where`: read, process or write."""

    def on_retry(self, context: StepContext, where: str, error: BaseException, attempt: int) -> Any:
        """Before another try; `attempt` counts the failed ones from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What tasks and chunks have in common."""

    retry: RetryPolicy | None = None
    start_limit: int | None = None
    """How often it may be started for one instance; a run that was lost or handed back and goes on is no new start."""
    allow_start_if_complete: bool = False
    """It runs again when the job is restarted, though it had succeeded."""
    on_failure: str | None = None
    """Name of a step that runs in the place of what follows when this one fails; the job then ends as that one does."""
    when: Callable[..., Any] | None = None
    """`when(context)`: the step is left out where it says False."""
    listeners: Sequence[Listener] = ()


@dataclass(frozen=True, slots=True)
class Task(Step):
    """One function, once: `run(context)` or `run()`. What it returns is kept as the step's exit description."""

    name: str
    run: Callable[..., Any]
    transaction: bool = field(default=False, kw_only=True)
    """Everything it does through `context.connection` is committed together with its end."""


@dataclass(frozen=True, slots=True)
class Chunk(Step):
    """Reads items, processes each, writes them in chunks; each chunk is one transaction with its checkpoint."""

    name: str
    read: Any = field(kw_only=True)
    """`read(context, after)`: a generator, async or not, of At behind the position `after` (None: from the start), or a
    reader object with such a method `read`."""
    write: Any = field(kw_only=True)
    """`write(context, items)` or `write(items)`, or a writer object with `open`, `write` and `close`."""
    process: Callable[..., Any] | None = field(default=None, kw_only=True)
    """`process(item)` or `process(context, item)`; None filters the item out."""
    size: int = field(default=100, kw_only=True)
    partitions: int = field(default=1, kw_only=True)
    plan: Callable[..., Any] | None = field(default=None, kw_only=True)
    """`plan(context, n)`: at most n Ranges; without one the reader's own, else n parts that know their index only."""
    aggregate: Callable[..., Any] | None = field(default=None, kw_only=True)
    """`aggregate(context, parts)` or `aggregate(parts)`: once, when all parts have succeeded."""
    count: Callable[..., Any] | None = field(default=None, kw_only=True)
    """`count(context)`: how many items there are to read, for the progress; without one the reader's own."""
    skip: SkipPolicy | None = field(default=None, kw_only=True)
