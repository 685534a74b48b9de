"""Tasks that were deleted from a queue, and on which task, to which question, an annotation answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; the next listing of a queue fills those of its annotations."""
    for name in ("selections", "copies"):
        op.add_column(name, sa.Column("withdrawn_at", sa.Float))
    op.add_column("labels", sa.Column("task", sa.Integer))
    op.add_column("labels", sa.Column("question", sa.Text))
