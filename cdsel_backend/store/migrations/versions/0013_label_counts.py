"""How many labels a training saw: what they were is read of one training, where somebody asks for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column and count what is there."""
    op.add_column("trainings", sa.Column("label_count", sa.Integer, nullable=False, server_default="0"))
    keys = "json_each" if op.get_bind().dialect.name == "sqlite" else "json_object_keys"
    op.execute(f"UPDATE trainings SET label_count = (SELECT count(*) FROM {keys}(trainings.labels))")
