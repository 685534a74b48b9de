"""The tables. What exists, and nothing that can be derived from it.

A change here needs a revision in `migrations/`, which brings a database that exists to this; a test holds the two
against each other.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy import Text as AnyText
from sqlalchemy.engine import Dialect

metadata = MetaData()

LargeInteger = BigInteger().with_variant(Integer, "sqlite")  # of 64 bits; all of SQLite's are


class Text(TypeDecorator[str]):
    """Text as people wrote it elsewhere: what a database cannot hold in it (NUL, half a pair of UTF-16) is replaced."""

    impl = AnyText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text that is kept."""
        return storable(value)


def storable(text: str | None) -> str | None:
    """Text with what a database cannot hold in it replaced."""
    if text is None or ("\0" not in text and text.isascii()):
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _project() -> Column[int]:
    return Column("project", ForeignKey("projects.id"), primary_key=True)


projects = Table(
    "projects",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("studio_url", String(500), nullable=False),
    Column("pool_project", Integer, nullable=False),  # ids of Label Studio
    Column("queue_project", Integer),
    Column("backend_url", Text, nullable=False, default=""),  # as Label Studio reaches us
    Column("title", Text, nullable=False, default=""),
    Column("label_config", Text, nullable=False, default=""),
    Column("layers", JSON, nullable=False, default=dict),  # settings.LAYERS -> accepted values
    Column("problems", JSON, nullable=False, default=dict),  # where it came from -> sentences
    Column("activity", JSON, nullable=False, default=dict),  # what the worker does now
    Column("pool_version", Integer, nullable=False, default=0),  # counts the changes of the pool
    Column("pool_synced_at", Float, nullable=False, default=0.0),  # seconds since the epoch
    Column("queue_synced_at", Float, nullable=False, default=0.0),
    Column("backbone", String(64), nullable=False, default=""),  # fingerprint of the vectors in force
    Column("report", JSON),  # the confounder report in force
    Column("report_key", String(64), nullable=False, default=""),  # what it was made from
    # What a round was to be chosen from when no image could be selected any more.
    Column("exhausted_key", String(64), nullable=False, default="", server_default=text("''")),
    Column("champion", String(100)),
    # Before the project trains by itself: the pool project's min_annotations_to_start_training.
    Column("least_labels", Integer, nullable=False, default=0, server_default="0"),
    # How many items of the pool have a vector, cannot be used, and exist.
    Column("embedded_count", Integer, nullable=False, default=0, server_default="0"),
    Column("unusable_count", Integer, nullable=False, default=0, server_default="0"),
    Column("item_count", Integer, nullable=False, default=0, server_default="0"),
    Column("described", JSON),  # our line in the pool project's description, and when it was written
    UniqueConstraint("studio_url", "pool_project"),
)

items = Table(
    "items",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("task", Integer, nullable=False),  # in the pool project; below 0: another task has its number now
    Column("data", JSON, nullable=False),  # task.data
    Column("image", Text, nullable=False, default=""),  # its image field
    Column("content_hash", String(64)),
    Column("problem", Text),  # why the image cannot be used
    # When its image is to be read, in seconds since the epoch, 0 at once; none: it has a vector, or is gone.
    Column("due_at", Float, default=0.0),
    Column("vector", Integer),  # where its vector lies, among those of the project's backbone
    Column("attempts", Integer, nullable=False, default=0),
    Column("measures", JSON),  # what its file says of itself (pool.measures)
    Column("note", Text),  # what is odd about a file that is used all the same
    Column("gone", Boolean, nullable=False, default=False),  # deleted from the pool project
    # Of a pool outside Label Studio: which source lists the item, and its name there.
    Column("source", Integer),
    Column("key", Text),
    # There, what changes with its image; of a task of the pool project, when Label Studio created it.
    Column("stamp", Text),
    UniqueConstraint("project", "task"),
    UniqueConstraint("project", "id"),
    Index("items_of_source", "source", "key"),
    Index("items_due", "project", "due_at"),
    Index("items_embedded", "project", "id", "vector", "gone"),  # whole in the index: no data is read for it
    Index("items_by_content", "project", "content_hash"),
)

# Where the items of a project come from, if not from the connected project; that is then the queue.
sources = Table(
    "sources",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("address", Text, nullable=False),
    Column("options", JSON, nullable=False),
    Column("watermark", Text, nullable=False, default=""),
    Column("listed_at", Float, nullable=False, default=0.0),  # seconds since the epoch
    Column("removed", Boolean, nullable=False, default=False, server_default=false()),
    UniqueConstraint("project", "address"),
)

labels = Table(
    "labels",
    metadata,
    _project(),
    Column("annotation", Integer, primary_key=True),  # id in Label Studio
    Column("source", Integer, nullable=False),  # the Label Studio project it was made in
    Column("item", ForeignKey("items.id"), nullable=False),
    Column("label", Text),  # none: skipped, empty, or refused for the problem
    Column("problem", Text),
    Column("skipped", Boolean, nullable=False, default=False),
    Column("annotator", String(200), nullable=False, default=""),
    Column("updated_at", String(40), nullable=False, default=""),
    Column("task", Integer),  # the task it was made on; none: known before tasks were kept
    Column("question", Text),  # the controls that it answers instead of the one that is learned
    Column("seconds", Float),  # that the annotator had it open, by Label Studio (`lead_time`)
    Column("ignored", Text),  # the classes that it gives and that are not learned, where it gives no other
    # Whether somebody marked it as ground truth in Label Studio.
    Column("ground_truth", Boolean, nullable=False, default=False, server_default=false()),
    Index("labels_by_item", "project", "item"),
)

rounds = Table(
    "rounds",
    metadata,
    _project(),
    Column("number", Integer, primary_key=True),
    Column("strategy", String(100), nullable=False),
    Column("seed", LargeInteger, nullable=False),
    Column("model_version", String(100)),  # the champion that helped to choose it
    Column("created_at", Float, nullable=False),
)

# One row for each image that ever entered the queue: the primary key is what keeps it from entering twice.
selections = Table(
    "selections",
    metadata,
    _project(),
    Column("item", ForeignKey("items.id"), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("rank", Integer, nullable=False),  # from 1, over all rounds
    Column("gain", Float, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("reason", JSON, nullable=False),
    Column("queue_task", Integer),  # its task in the queue, once pushed
    Column("predicted_by", String(100)),  # the model version whose prediction the queue shows
    # Whose queue it is in; "": everyone's.
    Column("annotator", String(200), nullable=False, default="", server_default=text("''")),
    Column("withdrawn_at", Float),  # when its task was found deleted in Label Studio
    Column("shown", JSON),  # when its task was made, which image it shows, and a digest of its other data
    UniqueConstraint("project", "rank"),
    ForeignKeyConstraint(["project", "round"], ["rounds.project", "rounds.number"]),
)

# Accounts of Label Studio that the setting `annotators` named once, and their queues. Rows stay: so do the queues.
annotators = Table(
    "annotators",
    metadata,
    _project(),
    Column("email", String(200), primary_key=True),
    Column("user", Integer),  # id in Label Studio; none: it knows no such account
    Column("queue_project", Integer),
)

# Further tasks of an image that is in a queue already: a second reading, or a queue instead of one left behind.
copies = Table(
    "copies",
    metadata,
    _project(),
    Column("item", ForeignKey("items.id"), primary_key=True),
    Column("annotator", String(200), primary_key=True),  # whose queue; "": everyone's
    Column("rank", Integer, nullable=False),
    Column("queue_task", Integer, nullable=False),
    Column("predicted_by", String(100)),
    Column("withdrawn_at", Float),
    Column("shown", JSON),
    ForeignKeyConstraint(["project", "item"], ["selections.project", "selections.item"]),
)

# One row for each training that ran, also one that gave no model: the labels it saw are then not tried again.
trainings = Table(
    "trainings",
    metadata,
    _project(),
    Column("number", Integer, primary_key=True),
    Column("version", String(100)),
    Column("round", Integer, nullable=False),  # complete rounds at the time
    # Item id -> label: what it saw. None any more of versions whose files are removed, but for the newest training.
    Column("labels", JSON, nullable=False),
    Column("label_count", Integer, nullable=False, default=0, server_default="0"),
    # `records.Outcome` as JSON; a sentence before there were records.
    Column("outcome", Text, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("source", Integer),  # the Label Studio project it names, if any
    Column("action", String(100), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("handled_at", Float),
    Column("result", JSON),  # what the look that it led to brought; none: not known
    Index("events_open", "handled_at"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("expires_at", Float, nullable=False),
)

# The pulse of every worker process that has not ended as it should, by the database's clock.
workers = Table(
    "workers",
    metadata,
    Column("holder", String(200), primary_key=True),
    Column("alive_at", Float, nullable=False),  # its process lived
    Column("moved_at", Float, nullable=False),  # it began or ended a step
)

# Small facts of the whole server, such as whether Label Studio answers.
facts = Table(
    "facts",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("value", JSON, nullable=False),
)

# Who changed what on the dashboard. Values are kept with the layer that they came from, so that undo can restore both.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("at", Float, nullable=False),
    Column("who", String(200), nullable=False),
    Column("name", String(100), nullable=False),  # a setting, or what was asked for
    Column("old", JSON),
    Column("old_source", String(40)),  # a layer, or "default"; none for what is no setting
    Column("new", JSON),
    Column("new_source", String(40)),
    Index("audit_by_project", "project", "id"),
)

# What an admin wants of single images: every change, so that an image can tell its history and the last can be undone.
directives = Table(
    "directives",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("item", ForeignKey("items.id"), nullable=False),
    Column("change", ForeignKey("audit.id"), nullable=False),  # of all images that were changed together
    Column("directive", String(20)),  # `records.Directive`; none: as every other image
    Column("former", String(20)),  # what it was before
    Column("latest", Boolean, nullable=False),  # of its image
    Index("directives_by_item", "project", "item", "latest"),
    Index("directives_in_force", "project", "latest", "directive"),
)
