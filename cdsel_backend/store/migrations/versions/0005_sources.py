"""Pools outside Label Studio: a project's sources, and what an item is called in its own."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Change the tables, and the rows in them."""
    op.create_table(
        "sources",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("project", sa.Integer, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("watermark", sa.Text, nullable=False),
        sa.Column("listed_at", sa.Float, nullable=False),
        sa.UniqueConstraint("project", "address"),
    )
    op.add_column("items", sa.Column("source", sa.Integer))
    op.add_column("items", sa.Column("key", sa.Text))
    op.add_column("items", sa.Column("stamp", sa.Text))
    op.create_index("items_of_source", "items", ["source", "key"])
