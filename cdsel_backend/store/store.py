"""What the rest of the house may ask of the state. Every method is one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdsel_backend.settings import ServerSettings
from cdsel_backend.store.annotators import Annotators
from cdsel_backend.store.directives import Directives
from cdsel_backend.store.embeddings import Embeddings
from cdsel_backend.store.facts import Facts
from cdsel_backend.store.journal import Journal
from cdsel_backend.store.labels import Labels
from cdsel_backend.store.leases import Leases
from cdsel_backend.store.pool_tasks import PoolTasks
from cdsel_backend.store.projects import Projects
from cdsel_backend.store.pulses import Pulses
from cdsel_backend.store.queue import Queue
from cdsel_backend.store.search import Search
from cdsel_backend.store.setup_calls import SetupCalls
from cdsel_backend.store.sources import Sources
from cdsel_backend.store.trainings import Trainings

if TYPE_CHECKING:
    from typing_extensions import Self


class Store(
    Projects,
    PoolTasks,
    Embeddings,
    Sources,
    Queue,
    Annotators,
    Labels,
    Directives,
    Search,
    Trainings,
    Journal,
    SetupCalls,
    Facts,
    Leases,
    Pulses,
):
    """The state of every project, in one database: each part says what it keeps."""

    @classmethod
    def open(cls, server: ServerSettings) -> Self:
        """The state in the database and the folder of vectors that a server's settings name.

        Raises:
            OSError: the data folder cannot be used.
            NewerDatabase, sqlalchemy.exc.SQLAlchemyError: see `open_database`.
        """
        return cls(server.database_url, server.vectors_folder)
