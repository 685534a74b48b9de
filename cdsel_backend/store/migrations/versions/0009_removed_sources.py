"""Sources that an admin removed; their images come back where the source is added again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column."""
    op.add_column("sources", sa.Column("removed", sa.Boolean, nullable=False, server_default=sa.false()))
