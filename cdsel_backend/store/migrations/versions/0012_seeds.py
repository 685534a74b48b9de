"""The seed of a round is larger than a number of 32 bits where a project's seed is a date, say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Widen the column where the database has widths; SQLite has none."""
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("rounds", "seed", type_=sa.BigInteger, existing_type=sa.Integer)
