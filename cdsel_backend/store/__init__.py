"""The state, in one database."""

from cdsel_backend.store.state import State
from cdsel_backend.store.store import PoolTask, Selected, Store

__all__ = ["PoolTask", "Selected", "State", "Store"]
