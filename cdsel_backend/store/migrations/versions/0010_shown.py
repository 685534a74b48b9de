"""What each task of a queue showed when it was pushed, and when Label Studio made it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns; the next listing of a queue fills those of its tasks."""
    for name in ("selections", "copies"):
        op.add_column(name, sa.Column("shown", sa.JSON))
