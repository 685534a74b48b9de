"""Which images two sources have in common, as a folder and a table of it, or one folder under two names."""

from __future__ import annotations

import os
from collections.abc import Iterable

from cdsel_backend.sources.manifest import folder_and_name, reader_of
from cdsel_backend.sources.options import SourceOptions
from cdsel_backend.sources.storage import extra_of, is_remote
from cdsel_backend.table import plain_path


def image_folder(address: str, options: SourceOptions) -> str:
    """The folder or prefix that the images of a source lie below, by one name whatever leads there."""
    folder = options.root or address
    if options.root is None and reader_of(address) is not None:
        folder, _ = folder_and_name(address)
    if is_remote(folder):
        scheme, _, path = folder.partition("://")
        return f"{extra_of(folder) or scheme}://{path.rstrip('/')}"
    return os.path.realpath(plain_path(folder))


def may_share(folder: str, other: str) -> bool:
    """Whether one of two folders (`image_folder`) is the other, or lies below it."""
    above, below = sorted((f"{folder.rstrip('/')}/", f"{other.rstrip('/')}/"), key=len)
    return below.startswith(above)


def whole_paths(folder: str, keys: Iterable[str]) -> dict[str, str]:
    """Path or address -> key of the images of a source, given its `image_folder`."""
    if is_remote(folder):
        return {(key if is_remote(key) else f"{folder}/{key}"): key for key in keys}
    return {os.path.normpath(os.path.join(folder, plain_path(key))): key for key in keys}
