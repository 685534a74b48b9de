"""Vectors leave the database for files beside it; an item says where its vector lies, a project counts its items.

Nothing is embedded again. A migration that is killed starts anew: what was appended to the files is found there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"

PART = 5000
COUNTS = ("embedded_count", "unusable_count", "item_count")


def upgrade() -> None:
    """Change the tables, and the rows in them."""
    with op.batch_alter_table("projects") as table:
        for name in COUNTS:
            table.add_column(sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    with op.batch_alter_table("items") as table:
        table.add_column(sa.Column("due_at", sa.Float))
        table.add_column(sa.Column("vector", sa.Integer))
    connection = op.get_bind()
    _move_vectors(connection, context.config.attributes.get("vectors"))
    connection.execute(
        sa.text(
            "UPDATE items SET due_at = CASE WHEN problem IS NULL THEN 0 ELSE retry_at END "
            "WHERE vector IS NULL AND NOT gone"
        )
    )
    with op.batch_alter_table("items") as table:
        table.drop_column("retry_at")
    for name, what in zip(
        COUNTS, ("vector IS NOT NULL", "problem IS NOT NULL", "id IS NOT NULL"), strict=True
    ):
        connection.execute(
            sa.text(
                f"UPDATE projects SET {name} = (SELECT count(*) FROM items "
                f"WHERE items.project = projects.id AND NOT items.gone AND {what.replace('id IS', 'items.id IS')})"
            )
        )
    op.create_index("items_due", "items", ["project", "due_at"])
    op.create_index("items_embedded", "items", ["project", "id", "vector", "gone"])
    op.drop_table("vectors")


def _move_vectors(connection: sa.Connection, kept: Any) -> None:
    found = connection.execute(sa.text("SELECT DISTINCT backbone FROM vectors ORDER BY backbone"))
    for backbone in found.scalars().all():
        if kept is None:
            raise sa.exc.ArgumentError(
                "the database holds vectors, and no folder is named that they may move to"
            )
        last = ""
        while True:
            rows = connection.execute(
                sa.text(
                    "SELECT content_hash, vector FROM vectors WHERE backbone = :backbone AND content_hash > :last "
                    "ORDER BY content_hash LIMIT :part"
                ),
                {"backbone": backbone, "last": last, "part": PART},
            ).all()
            if not rows:
                break
            last = rows[-1][0]
            vectors = np.stack([np.frombuffer(bytes(vector), dtype="<f2") for _, vector in rows])
            kept.append(backbone, [digest for digest, _ in rows], vectors.astype(np.float32))
    projects = connection.execute(sa.text("SELECT id, backbone FROM projects WHERE backbone <> ''")).all()
    for project, backbone in projects if kept is not None else ():
        last_item = 0
        while True:
            rows = connection.execute(
                sa.text(
                    "SELECT id, content_hash FROM items WHERE project = :project AND id > :last "
                    "AND content_hash IS NOT NULL ORDER BY id LIMIT :part"
                ),
                {"project": project, "last": last_item, "part": PART},
            ).all()
            if not rows:
                break
            last_item = rows[-1][0]
            positions = kept.find(backbone, [digest for _, digest in rows]).tolist()
            placed = [{"item": row[0], "at": at} for row, at in zip(rows, positions, strict=True) if at >= 0]
            if placed:
                connection.execute(sa.text("UPDATE items SET vector = :at WHERE id = :item"), placed)
