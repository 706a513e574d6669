"""What the functions of a step see. One for each step of a run; a reader's is a copy with a connection of its own."""

from collections.abc import Mapping, MutableMapping
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from jobservice.domain.errors import DefinitionError
from jobservice.sdk.job_info import JobInfo
from jobservice.sdk.steps import Counts, Partition
from jobservice.sdk.wishes import Wishes
from jobservice.steps.connections import is_lost
from jobservice.steps.threads import StepThreads

WISHES: Final = "$wishes"
"""In the state of a step, hidden from its functions: what they asked to happen with the success of the job."""


class Context:
    """The StepContext of `jobservice.sdk.steps`."""

    def __init__(
        self,
        *,
        job: Any,
        key: str,
        shared: MutableMapping[str, Any],
        threads: StepThreads,
        wishes: Wishes | None = None,
    ) -> None:
        """`key` names step and part over all runs of the instance. `wishes` are those of the run.

        Plain functions run on `threads`.
        """
        self.threads = threads
        self.job = job
        self.partition = Partition()
        self.counts = Counts()
        self.state: MutableMapping[str, Any] = {}
        self.shared = shared
        self.exit_description: str | None = None
        self._key = key
        self._connection: Any = None
        self._wishes = Wishes() if wishes is None else wishes
        self._mark = self._wishes.mark()

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

    @property
    def open_transaction(self) -> Any:
        """The connection of the moment where it is in a transaction, which a failed statement would spoil; or None."""
        connection = self._connection
        return connection if connection is not None and connection.is_in_transaction() else None

    def has_lost_connection(self, error: BaseException) -> bool:
        """Whether this error comes of the end of the connection of the moment."""
        return self._connection is not None and is_lost(error, self._connection)

    def remember(self) -> "Remembered":
        """State, counts and what is shared, as they are, to go back to."""
        mark = self._wishes.mark()
        return Remembered(deepcopy(dict(self.state)), copy(self.counts), deepcopy(dict(self.shared)), mark)

    def go_back(self, remembered: "Remembered") -> None:
        """As it was at the last commit; who holds the state holds the same object still."""
        self._be(deepcopy(remembered.state), remembered.counts)
        self._wishes.go_back(remembered.wished)
        self.shared.clear()
        self.shared.update(deepcopy(remembered.shared))

    def begin_at(self, state: MutableMapping[str, Any], counts: Counts) -> None:
        """As the rows say at the begin of a run: state and counts are these very objects from here on."""
        self._wishes.add(state.pop(WISHES, {}))
        self.state, self.counts = state, counts

    def stand_at(self, state: Mapping[str, Any], counts: Counts) -> None:
        """As the rows say in the middle of a run."""
        self.forget_wishes()
        self._wishes.add(state.get(WISHES, {}))
        self._be({name: value for name, value in state.items() if name != WISHES}, counts)

    def forget_wishes(self) -> None:
        """Those of the step: it has failed."""
        self._wishes.go_back(self._mark)

    @property
    def kept(self) -> Mapping[str, Any]:
        """What is to stand in the row: the state, and what the step wishes to happen with the success of the job."""
        wished = self._wishes.since(self._mark)
        return {**self.state, WISHES: wished} if wished else self.state

    def _be(self, state: Mapping[str, Any], counts: Counts) -> None:
        self.state.clear()
        self.state.update(state)
        for name in Counts.__slots__:
            setattr(self.counts, name, getattr(counts, name))


class Remembered(NamedTuple):
    """What a failure goes back to."""

    state: dict[str, Any]
    counts: Counts
    shared: dict[str, Any]
    wished: tuple[int, int]
