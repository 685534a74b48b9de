"""An index of what images show: which of them are equal is asked by every page."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Make the index."""
    op.create_index("items_by_content", "items", ["project", "content_hash"])
