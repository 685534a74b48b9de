"""The pulse of the workers: whether one lives, and whether it gets on with its work."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, delete, false, insert, select, update

from cdsel_backend.store import schema
from cdsel_backend.store.database import Database, reading, writing
from cdsel_backend.store.leases import now_of

BEAT_SECONDS = 10.0  # between two beats
DEAD_SECONDS = 60.0  # without a beat: the process died, or its machine did
FORGOTTEN_SECONDS = 3600.0  # without a beat, while another worker lives
STUCK_SECONDS = 900.0  # in one step: the longest that are bounded by design take a few minutes


@dataclass(frozen=True)
class Pulse:
    """One worker process."""

    holder: str
    """Machine, process id and a random part."""
    silent_seconds: float
    """Since it was last known to live."""
    step_seconds: float
    """Since it last began or ended a step."""

    @property
    def dead(self) -> bool:
        """Whether it must be taken for dead."""
        return self.silent_seconds > DEAD_SECONDS

    @property
    def stuck(self) -> bool:
        """Whether it lives, but has been at one step for too long."""
        return not self.dead and self.step_seconds > STUCK_SECONDS


class Pulses(Database):
    """Who works."""

    def beat(self, holder: str, *, moved: bool) -> None:
        """Note that a worker lives, and whether it has begun or ended a step; those long dead are forgotten.

        So are those that the clock was set back behind, as nobody could see that they died; who lives is back at its
        next beat.
        """
        table = schema.workers
        with writing(self.engine) as connection:
            now = now_of(connection)
            step = table.c.moved_at
            times = {"alive_at": now, "moved_at": now if moved else case((step > now, now), else_=step)}
            if not connection.execute(update(table).where(table.c.holder == holder).values(**times)).rowcount:
                connection.execute(insert(table).values(holder=holder, alive_at=now, moved_at=now))
            lately = table.c.alive_at.between(now - FORGOTTEN_SECONDS, now + FORGOTTEN_SECONDS)
            connection.execute(delete(table).where(~lately))

    def end_pulse(self, holder: str) -> None:
        """Forget a worker that ends as it should."""
        self._execute(delete(schema.workers).where(schema.workers.c.holder == holder))

    def try_to_write(self) -> None:
        """Change nothing, in a way that fails where nothing can be changed.

        Raises:
            SQLAlchemyError: as a worker gets it, which then has no pulse.
        """
        self._execute(delete(schema.workers).where(false()))

    def pulses(self) -> list[Pulse]:
        """Every worker that has not ended as it should; a clock that was set back makes nobody look dead."""
        table = schema.workers
        with reading(self.engine) as connection:
            now = now_of(connection)
            rows = connection.execute(select(table).order_by(table.c.holder)).all()
        return [Pulse(row.holder, max(0.0, now - row.alive_at), max(0.0, now - row.moved_at)) for row in rows]

    def beats(self) -> dict[str, float]:
        """Worker -> its last beat, in seconds since the epoch, by the clock of then."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(schema.workers.c.holder, schema.workers.c.alive_at)).all()
        return {row.holder: row.alive_at for row in rows}
