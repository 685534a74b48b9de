"""What the rest of the house may ask of the state. Every method is one transaction."""

from __future__ import annotations

from cdsel_backend.store.directives import Directives
from cdsel_backend.store.embeddings import Embeddings
from cdsel_backend.store.journal import Journal
from cdsel_backend.store.leases import Leases
from cdsel_backend.store.pool_items import PoolItems
from cdsel_backend.store.projects import Projects
from cdsel_backend.store.pulses import Pulses
from cdsel_backend.store.queue import Queue
from cdsel_backend.store.search import Search
from cdsel_backend.store.sources import Sources
from cdsel_backend.store.trainings import Trainings


class Store(
    Projects, PoolItems, Embeddings, Sources, Queue, Directives, Search, Trainings, Journal, Leases, Pulses
):
    """The state of every project, in one database: each part says what it keeps."""
