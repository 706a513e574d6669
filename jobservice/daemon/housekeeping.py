"""What one daemon does for all of them: due work, retention, the audit of the claim's books; with their loops.

Every daemon may do it, and several at once do no harm. `--no-maintenance` leaves it to others.
"""

from collections.abc import Callable, Sequence

from jobservice.config import Settings
from jobservice.lifecycle.claim import Claimer
from jobservice.lifecycle.upkeep import Upkeep
from jobservice.loop import Loop
from jobservice.maintenance.audit import INTERVAL as AUDIT_INTERVAL
from jobservice.maintenance.audit import Audit
from jobservice.maintenance.due import DueWork
from jobservice.maintenance.retention import INTERVAL as RETENTION_INTERVAL
from jobservice.maintenance.retention import Retention
from jobservice.schedules.firing import Firing
from jobservice.store.session import Session
from jobservice.workflow.cleaning import PipelineCleaner
from jobservice.workflow.settling import Settler


class Housekeeping:
    """Built by the daemon, which starts and stops the loops."""

    def __init__(
        self,
        *,
        settings: Settings,
        session: Session,
        claimer: Claimer,
        settler: Settler,
        sweep: Callable[[], None],
        queued: Callable[[], None],
        queues: Sequence[str],
    ) -> None:
        """`sweep` is called when facts were written, `queued` when there may be something to claim in `queues`."""
        schema = settings.database.schema_name
        upkeep = Upkeep(schema=schema, follower=settler)
        due = DueWork(
            session=session,
            upkeep=upkeep,
            claimer=claimer,
            settler=settler,
            firing=Firing(schema=schema),
            sweep=sweep,
            queued=queued,
            queues=queues,
            poll=settings.daemon.poll,
        )
        retention = Retention(
            session=session,
            upkeep=upkeep,
            cleaner=PipelineCleaner(schema=schema),
            succeeded=settings.retention.succeeded,
            failed=settings.retention.failed,
            pending=settings.retention.pending,
            instances=settings.retention.instances,
        )
        audit = Audit(session=session, upkeep=upkeep)
        self._due_loop = Loop(name="due", run_once=due.run_once, interval=settings.daemon.poll)
        self.loops = [
            self._due_loop,
            Loop(name="retention", run_once=retention.run_once, interval=RETENTION_INTERVAL),
            Loop(name="audit", run_once=audit.run_once, interval=AUDIT_INTERVAL),
        ]

    def due_soon(self) -> None:
        """A date is near that the look for due work does not know yet."""
        self._due_loop.wake()
