"""What an image's file says of itself, and what is odd about one that is used all the same."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; items that were read before have neither until they are read again."""
    with op.batch_alter_table("items") as table:
        table.add_column(sa.Column("measures", sa.JSON))
        table.add_column(sa.Column("note", sa.Text))
