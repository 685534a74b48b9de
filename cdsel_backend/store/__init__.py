"""The state, in one database."""

from cdsel_backend.store.database import LeaseLost
from cdsel_backend.store.pool_tasks import PoolTask
from cdsel_backend.store.queue import Selected
from cdsel_backend.store.state import State
from cdsel_backend.store.store import Store

__all__ = ["LeaseLost", "PoolTask", "Selected", "State", "Store"]
