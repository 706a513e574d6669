"""What the functions of a step see. One for each step of a run; a reader's is a copy with a connection of its own."""

from collections.abc import Mapping, MutableMapping
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from jobservice.domain.errors import DefinitionError
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.steps import Counts, Partition
from jobservice.steps.connections import is_lost


class Context:
    """The StepContext of `jobservice.sdk.steps`."""

    def __init__(self, *, job: Any, key: str, shared: MutableMapping[str, Any]) -> None:
        """`key` names step and part over all runs of the instance."""
        self.job = job
        self.partition = Partition()
        self.counts = Counts()
        self.state: MutableMapping[str, Any] = {}
        self.shared = shared
        self.exit_description: str | None = None
        self._key = key
        self._connection: Any = None

    @property
    def info(self) -> JobInfo:
        """The job as it was claimed."""
        info: JobInfo = self.job.info
        return info

    @property
    def log(self) -> FilteringBoundLogger:
        """The job's logger."""
        log: FilteringBoundLogger = self.job.log
        return log

    @property
    def workspace(self) -> Path:
        """The run's private directory."""
        workspace: Path = self.job.workspace
        return workspace

    @property
    def stop_requested(self) -> bool:
        """Whether the run is to end now."""
        return bool(self.job.stop_requested)

    @property
    def connection(self) -> Any:
        """The connection of the moment."""
        if self._connection is None:
            raise DefinitionError("there is no connection here: only while a task, a reader or a chunk is at work")
        return self._connection

    @connection.setter
    def connection(self, connection: Any) -> None:
        self._connection = connection

    @property
    def chunk_key(self) -> str:
        """The same for each attempt at the chunk that follows the last commit."""
        return f"{self._key}:{self.counts.commits}"

    def reading(self, connection: Any) -> "Context":
        """For a reader: all is shared but the connection."""
        other = copy(self)
        other._connection = connection
        return other

    def has_lost_connection(self, error: BaseException) -> bool:
        """Whether this error comes of the end of the connection of the moment."""
        return self._connection is not None and is_lost(error, self._connection)

    def remember(self) -> "Remembered":
        """State, counts and what is shared, as they are, to go back to."""
        return Remembered(deepcopy(dict(self.state)), copy(self.counts), deepcopy(dict(self.shared)))

    def go_back(self, remembered: "Remembered") -> None:
        """As it was at the last commit; who holds the state holds the same object still."""
        self.stand_at(deepcopy(remembered.state), remembered.counts)
        self.shared.clear()
        self.shared.update(deepcopy(remembered.shared))

    def stand_at(self, state: Mapping[str, Any], counts: Counts) -> None:
        """As the rows say."""
        self.state.clear()
        self.state.update(state)
        for name in Counts.__slots__:
            setattr(self.counts, name, getattr(counts, name))


class Remembered(NamedTuple):
    """What a failure goes back to."""

    state: dict[str, Any]
    counts: Counts
    shared: dict[str, Any]
