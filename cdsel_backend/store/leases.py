"""Leases: which worker is at a project, and which process trains for it, known to every process.

A lease is a row with a holder and a time at which it ends unless it is renewed. Times are those of the database's
clock, so that workers on several machines agree. Where that clock was set back, a lease that would end later than any
that can be given now counts as ended: it never blocks for longer than its length.

What a worker does under a lease it does with `Store.under(...)`. Each of its transactions then sees first, and holds
until it commits, that the lease is still its own: a worker that was away for too long, and whose work another has
taken up, changes nothing more.
"""

from __future__ import annotations

import copy
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from cdsel_backend.store import schema
from cdsel_backend.store.database import LEASE, Database, LeaseLost, reading, writing
from cdsel_backend.store.faults import sentence

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

LEASE_SECONDS = 30.0  # without a renewal; a worker that died is replaced after that


def project_lease(project: int) -> str:
    """The lease of whoever takes a project's next step."""
    return f"project:{project}"


def training_lease(project: int) -> str:
    """The lease of a project's training process."""
    return f"training:{project}"


def listing_lease(source: int) -> str:
    """The lease of whoever lists a source outside Label Studio."""
    return f"listing:{source}"


def explaining_lease(project: int) -> str:
    """The lease of the process that computes the insight of a project's newest training."""
    return f"explaining:{project}"


def new_holder() -> str:
    """A name under which a process holds leases: its machine, its number there and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Leases(Database):
    """Who is at work on what."""

    def take_lease(self, name: str, holder: str, seconds: float = LEASE_SECONDS) -> bool:
        """Take a lease, or renew one's own; false while another holds it."""
        table = schema.leases
        with writing(self.engine) as connection:
            now = now_of(connection)
            values = {"holder": holder, "expires_at": now + seconds}
            free = or_(table.c.holder == holder, ~_valid(now))
            if connection.execute(update(table).where(table.c.name == name, free).values(values)).rowcount:
                return True
        try:
            with writing(self.engine) as connection:
                connection.execute(insert(table).values(name=name, **values))
        except IntegrityError:
            return False
        return True

    def renew_lease(self, name: str, holder: str, seconds: float = LEASE_SECONDS) -> bool:
        """Make a lease last from now on; false where it is lost.

        One that ended and that nobody took is renewed, too: nothing happened meanwhile. One that another gave back is
        lost: what was read before may have changed.
        """
        table = schema.leases
        with writing(self.engine) as connection:
            mine = and_(table.c.name == name, table.c.holder == holder)
            ends = now_of(connection) + seconds
            return bool(connection.execute(update(table).where(mine).values(expires_at=ends)).rowcount)

    def release_lease(self, name: str, holder: str) -> None:
        """Give a lease back; nothing happens where it is lost."""
        table = schema.leases
        self._execute(delete(table).where(table.c.name == name, table.c.holder == holder))

    def training_runs(self, project: int) -> bool:
        """Whether a process of any worker trains for a project."""
        table = schema.leases
        with reading(self.engine) as connection:
            here = and_(table.c.name == training_lease(project), _valid(now_of(connection)))
            return connection.scalar(select(table.c.name).where(here)) is not None

    def under(self, name: str, holder: str) -> Self:
        """This store for work under a lease: each of its transactions raises LeaseLost once the lease is lost."""
        fenced = copy.copy(self)
        fenced.engine = self.engine.execution_options(**{LEASE: (name, holder)})
        return fenced

    def confirm_lease(self) -> None:
        """Before something that is not in the database: renew the lease that this store works under, if any.

        Raises:
            LeaseLost: another worker has it.
        """
        lease = self.engine.get_execution_options().get(LEASE)
        if lease is not None and not self.renew_lease(*lease):
            raise LeaseLost(lease[0])


def now_of(connection: Connection) -> float:
    """Seconds since the epoch by the clock that all who use the database share."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return time.time()  # a SQLite file is on one machine


def _valid(now: float) -> ColumnElement[bool]:
    # Twice the length: a clock that is set right by a moment ends no lease.
    return schema.leases.c.expires_at.between(now, now + 2 * LEASE_SECONDS)


@contextmanager
def renewing(store: Leases, name: str, holder: str) -> Iterator[None]:
    """Keep a lease for as long as the work takes; whoever works under a lost one is stopped by the store."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 3):
            try:
                if not store.renew_lease(name, holder):
                    log.warning("%s", LeaseLost(name))
                    return
            except LeaseLost:  # the one that the store itself works under
                return
            except SQLAlchemyError as fault:  # the next beat may be luckier
                log.warning("the lease %s could not be renewed: %s", name, sentence(fault))

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
