"""The door for submissions that come as messages: the jobs of a group are stored by one call, pipelines one by one, and
each message is answered.

Handler of the consumer of the submissions queue. It decides messages and sends nothing itself. Nothing is lost: what
cannot be stored now is left undecided. Nothing is stored twice: a commit whose answer was lost is asked for, and a
message that comes again is known by its idempotency key.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Final

import asyncpg
import structlog

from jobservice.broker.bodies import answer, refuse
from jobservice.broker.incoming import Incoming
from jobservice.domain.errors import (
    DatabaseUnavailable,
    InvalidSubmission,
    NotLegal,
    UnavailableError,
    UnknownPipeline,
    UnknownStage,
)
from jobservice.lifecycle.submission import Submitted, Submitter
from jobservice.store.session import Session
from jobservice.store.transactions import CommitInDoubt, Transactions
from jobservice.submission.reading import Submission, placed, read
from jobservice.submission.trees import Tree, TreeStore

log = structlog.get_logger(__name__)

_CALL_CHARACTERS: Final = 8_000_000
_CALL_JOBS: Final = 10_000
"""What one call takes at most, unless a single message is larger."""
_READ_ASIDE_BYTES: Final = 65_536
"""Larger bodies are read in a thread: the event loop runs jobs too."""

Portion = Sequence[Submission]
Statement = Callable[[asyncpg.Connection], Awaitable[Submitted]]


class SubmissionDoor:
    """`await door(messages)`: acknowledges or rejects each message that could be decided.

    Raises UnavailableError for those that could not: the database or its schema is away, or a client holds a lock.
    """

    def __init__(self, *, session: Session, schema: str, max_bytes: int) -> None:
        self._transactions = Transactions(session=session)
        self._submitter = Submitter(schema=schema)
        self._trees = TreeStore(schema=schema)
        self._max_bytes = max_bytes
        self._doubt: tuple[CommitInDoubt, Portion | Tree] | None = None

    async def __call__(self, messages: Sequence[Incoming]) -> None:
        """Decide `messages`."""
        await self._settle_doubt()
        read_ones = await self._read(messages)
        held_up = await self._store_jobs([each for each in read_ones if isinstance(each, Submission)])
        for tree in read_ones:
            if isinstance(tree, Tree):
                held_up = await self._store_tree(tree) or held_up
        if held_up is not None and not all(message.decided for message in messages):
            raise held_up

    async def _store_jobs(self, submissions: Sequence[Submission]) -> UnavailableError | None:
        """Store what can be stored; what held up the rest, if anything did."""
        pending = list(reversed(_portions(submissions)))
        held_up: UnavailableError | None = None
        while pending:
            portion = pending.pop()
            try:
                rest = await self._store(portion)
            except DatabaseUnavailable:
                raise
            except UnavailableError as error:
                held_up, rest = error, _halves(portion)
            pending.extend(reversed(rest))
        return held_up

    async def _store_tree(self, tree: Tree) -> UnavailableError | None:
        """Store a pipeline, or what is added to one; what held it up, if anything did."""
        try:
            _accept_tree(tree, await self._transactions.run(partial(self._trees.store, tree=tree)))
        except CommitInDoubt as doubt:
            self._doubt = (doubt, tree)
            raise
        except DatabaseUnavailable:
            raise
        except UnavailableError as error:
            return error
        except NotLegal as error:
            refuse(tree.message, InvalidSubmission(str(error), code=error.code), status=error.status)
        except (UnknownPipeline, UnknownStage) as error:
            refuse(tree.message, InvalidSubmission(str(error), code=error.code))
        except InvalidSubmission as error:
            refuse(tree.message, error)
        return None

    async def _read(self, messages: Sequence[Incoming]) -> list[Submission | Tree]:
        submissions: list[Submission | Tree] = []
        for message in messages:
            if message.decided:
                continue
            reading = partial(read, message, max_bytes=self._max_bytes)
            try:
                large = _READ_ASIDE_BYTES < len(message.body) <= self._max_bytes
                submissions.append(await asyncio.to_thread(reading) if large else reading())
            except InvalidSubmission as error:
                refuse(message, error)
        return submissions

    async def _store(self, portion: Portion) -> list[Portion]:
        """Store a portion with one call; what is to be tried next, when it was refused."""
        jobs = "[" + ",".join(job for submission in portion for job in submission.jobs) + "]"
        try:
            stored = await self._stored(portion, partial(self._submitter.submit_told, jobs=jobs))
        except CommitInDoubt as doubt:
            self._doubt = (doubt, portion)
            raise
        except InvalidSubmission as error:
            return _without_culprit(portion, error)
        _accept(portion, stored)
        return []

    async def _stored(self, portion: Portion, submit: Statement) -> Submitted:
        """Where each job has a key a repetition finds what was stored: no transaction whose fate could be asked for."""
        if all(submission.keyed for submission in portion):
            return await self._transactions.run_repeatable(submit)
        return await self._transactions.run(submit)

    async def _settle_doubt(self) -> None:
        if self._doubt is None:
            return
        doubt, asked = self._doubt
        if await self._transactions.committed(doubt):
            if isinstance(asked, Tree):
                _accept_tree(asked, doubt.value)
            else:
                _accept(asked, doubt.value)
        self._doubt = None


def _portions(submissions: Iterable[Submission]) -> list[Portion]:
    """In order, each small enough for one call."""
    portions: list[list[Submission]] = []
    characters = jobs = 0
    for submission in submissions:
        characters, jobs = characters + submission.size, jobs + len(submission.jobs)
        if not portions or characters > _CALL_CHARACTERS or jobs > _CALL_JOBS:
            portions.append([])
            characters, jobs = submission.size, len(submission.jobs)
        portions[-1].append(submission)
    return list(portions)


def _halves(portion: Portion) -> list[Portion]:
    middle = len(portion) // 2
    return [portion[:middle], portion[middle:]] if middle else []


def _without_culprit(portion: Portion, error: InvalidSubmission) -> list[Portion]:
    """Refuse the message that is to blame where that is known; what is left to be stored."""
    if error.index is None:
        if len(portion) == 1:
            refuse(portion[0].message, error)
        return _halves(portion)
    ends = list(accumulate(len(submission.jobs) for submission in portion))
    place = next(place for place, end in enumerate(ends) if error.index < end)
    culprit = portion[place]
    member = error.index - ends[place] + len(culprit.jobs)
    text = str(error).removeprefix(f"job {error.index}: ")
    refuse(culprit.message, placed(error, text, member if culprit.batch else None))
    rest = [*portion[:place], *portion[place + 1 :]]
    return [rest] if rest else []


def _accept(portion: Portion, stored: Submitted) -> None:
    """Answer and acknowledge what is committed."""
    start = 0
    unpublished = {"unpublished_queues": list(stored.unpublished)} if stored.unpublished else {}
    for submission in portion:
        end = start + len(submission.jobs)
        answer(submission.message, {"job_ids": [str(job_id) for job_id, _ in stored.jobs[start:end]], **unpublished})
        start = end
    created = sum(created for _, created in stored.jobs)
    log.info("job.submit", messages=len(portion), jobs=len(stored.jobs), created=created)


def _accept_tree(tree: Tree, stored: dict[str, Any]) -> None:
    answer(tree.message, stored)
    log.info("pipeline.submit", what=tree.kind, pipeline_id=stored.get("pipeline_id"), to=tree.to and str(tree.to))
