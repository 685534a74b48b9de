"""Label Studio's mark that an annotation is ground truth."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column; the next listing of a project fills it."""
    op.add_column("labels", sa.Column("ground_truth", sa.Boolean, nullable=False, server_default=sa.false()))
