"""The schema from before there were revisions, as commit e7083fe has it.

Whatever is missing is made: in an empty database everything, in one of an earlier commit some tables and columns, in
one of e7083fe nothing. These tables are frozen; what changed since is in the revisions that follow.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    text,
)
from sqlalchemy.schema import CreateColumn

revision = "0001"
down_revision = None

metadata = MetaData()


def _project() -> Column[int]:
    return Column("project", ForeignKey("projects.id"), primary_key=True)


projects = Table(
    "projects",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("studio_url", String(500), nullable=False),
    Column("pool_project", Integer, nullable=False),
    Column("queue_project", Integer),
    Column("backend_url", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("label_config", Text, nullable=False),
    Column("layers", JSON, nullable=False),
    Column("problems", JSON, nullable=False),
    Column("activity", JSON, nullable=False),
    Column("pool_version", Integer, nullable=False),
    Column("pool_synced_at", Float, nullable=False),
    Column("queue_synced_at", Float, nullable=False),
    Column("backbone", String(64), nullable=False),
    Column("report", JSON),
    Column("report_key", String(64), nullable=False),
    Column("exhausted_key", String(64), nullable=False, server_default=""),
    Column("champion", String(100)),
    Column("least_labels", Integer, nullable=False, server_default="0"),
    Column("described", JSON),
    UniqueConstraint("studio_url", "pool_project"),
)

items = Table(
    "items",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("task", Integer, nullable=False),
    Column("data", JSON, nullable=False),
    Column("image", Text, nullable=False),
    Column("content_hash", String(64)),
    Column("problem", Text),
    Column("retry_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("gone", Boolean, nullable=False),
    UniqueConstraint("project", "task"),
    UniqueConstraint("project", "id"),
)

vectors = Table(
    "vectors",
    metadata,
    Column("content_hash", String(64), primary_key=True),
    Column("backbone", String(64), primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)

labels = Table(
    "labels",
    metadata,
    _project(),
    Column("annotation", Integer, primary_key=True),
    Column("source", Integer, nullable=False),
    Column("item", ForeignKey("items.id"), nullable=False),
    Column("label", Text),
    Column("problem", Text),
    Column("skipped", Boolean, nullable=False),
    Column("annotator", String(200), nullable=False),
    Column("updated_at", String(40), nullable=False),
    Index("labels_by_item", "project", "item"),
)

rounds = Table(
    "rounds",
    metadata,
    _project(),
    Column("number", Integer, primary_key=True),
    Column("strategy", String(100), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("model_version", String(100)),
    Column("created_at", Float, nullable=False),
)

selections = Table(
    "selections",
    metadata,
    _project(),
    Column("item", ForeignKey("items.id"), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("gain", Float, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("reason", JSON, nullable=False),
    Column("queue_task", Integer),
    Column("predicted_by", String(100)),
    Column("annotator", String(200), nullable=False, server_default=""),
    UniqueConstraint("project", "rank"),
    ForeignKeyConstraint(["project", "round"], ["rounds.project", "rounds.number"]),
)

annotators = Table(
    "annotators",
    metadata,
    _project(),
    Column("email", String(200), primary_key=True),
    Column("user", Integer),
    Column("queue_project", Integer),
)

copies = Table(
    "copies",
    metadata,
    _project(),
    Column("item", ForeignKey("items.id"), primary_key=True),
    Column("annotator", String(200), primary_key=True),
    Column("rank", Integer, nullable=False),
    Column("queue_task", Integer, nullable=False),
    Column("predicted_by", String(100)),
    ForeignKeyConstraint(["project", "item"], ["selections.project", "selections.item"]),
)

trainings = Table(
    "trainings",
    metadata,
    _project(),
    Column("number", Integer, primary_key=True),
    Column("version", String(100)),
    Column("round", Integer, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("source", Integer),
    Column("action", String(100), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("handled_at", Float),
    Index("events_open", "handled_at"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("expires_at", Float, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("value", JSON, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("at", Float, nullable=False),
    Column("who", String(200), nullable=False),
    Column("name", String(100), nullable=False),
    Column("old", JSON),
    Column("old_source", String(40)),
    Column("new", JSON),
    Column("new_source", String(40)),
    Index("audit_by_project", "project", "id"),
)


def upgrade() -> None:
    """Make the tables and columns that are missing; nothing is changed or dropped."""
    connection = op.get_bind()
    metadata.create_all(connection)
    found = inspect(connection)
    quote = connection.dialect.identifier_preparer.format_table
    for table in metadata.sorted_tables:
        known = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(text(f"ALTER TABLE {quote(table)} ADD COLUMN {definition}"))
