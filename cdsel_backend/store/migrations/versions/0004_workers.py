"""Workers have a pulse, which /health and /metrics go by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table; the workers write their rows themselves."""
    op.create_table(
        "workers",
        sa.Column("holder", sa.String(200), primary_key=True),
        sa.Column("alive_at", sa.Float, nullable=False),
        sa.Column("moved_at", sa.Float, nullable=False),
    )
