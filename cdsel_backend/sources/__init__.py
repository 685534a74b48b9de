"""Pools outside Label Studio: tables of files (CSV, JSON lines, Parquet), folders and buckets.

To add a kind of source, write a `PoolSource` in a module of its own and name it in `open_source`.
"""

from cdsel_backend.sources.opening import open_source
from cdsel_backend.sources.options import SourceOptions

__all__ = ["SourceOptions", "open_source"]
