"""How long an annotation took, which class it gave that is not learned, and what came of an event."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns; the next listing of a queue fills those of its annotations, and old events stay without."""
    op.add_column("labels", sa.Column("seconds", sa.Float))
    op.add_column("labels", sa.Column("ignored", sa.Text))
    op.add_column("events", sa.Column("result", sa.JSON))
