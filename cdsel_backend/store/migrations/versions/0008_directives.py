"""What an admin wants of single images: left out, or put first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "directives",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("project", sa.Integer, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("item", sa.Integer, sa.ForeignKey("items.id"), nullable=False),
        sa.Column("change", sa.Integer, sa.ForeignKey("audit.id"), nullable=False),
        sa.Column("directive", sa.String(20)),
        sa.Column("former", sa.String(20)),
        sa.Column("latest", sa.Boolean, nullable=False),
    )
    op.create_index("directives_by_item", "directives", ["project", "item", "latest"])
    op.create_index("directives_in_force", "directives", ["project", "latest", "directive"])
