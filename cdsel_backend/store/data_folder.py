"""The data folder and the database belong together: model versions lie in the one, what is known of them in the other.

Both carry one id. Workers on several machines need the folder on storage that all of them share; one that would work
with a folder of its own is refused before it writes anything.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from cdsel_backend.store.store import Store
from cdsel_backend.whole_file import write_first

MARKER = "folder.id"
FACT = "data folder"  # the database's copy of the id


class OtherFolder(Exception):
    """The data folder is not the one that the database belongs to; the message says what to do."""


def claim_folder(store: Store, folder: Path) -> None:
    """See that a data folder is the one that the database belongs to; a database without one takes this one.

    Raises:
        OtherFolder: the database belongs to another one; nothing was written.
        OSError: the folder cannot be written.
    """
    if store.fact(FACT) is None:
        store.first_fact(FACT, _mark(folder))
    check_folder(store, folder)


def check_folder(store: Store, folder: Path) -> None:
    """See, without writing anything, that a data folder is the one that the database belongs to, if it has one yet.

    Raises:
        OtherFolder: the database belongs to another one.
    """
    known, found = store.fact(FACT), _read(folder)
    if known is None:
        return
    if found == known:
        return
    what = "it has no id" if found is None else f"it is the folder {found}"
    raise OtherFolder(
        f"CDSEL_DATA_DIR: {folder} is not the data folder of this database ({what}; the database belongs to {known}). "
        "Its model versions lie in that folder, and every worker needs them: name the same folder, on storage that all "
        f"workers share. If it is lost for good, write {known} into {folder / MARKER}: the projects then go on without "
        "its models"
    )


def _read(folder: Path) -> str | None:
    try:
        return (folder / MARKER).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def _mark(folder: Path) -> str:
    """Give a folder an id unless it has one; returns its id."""
    folder.mkdir(parents=True, exist_ok=True)
    if _read(folder) is None:
        write_first(folder / MARKER, f"{uuid.uuid4()}\n".encode())
    found = _read(folder)
    if found is None:
        raise OSError(f"{folder / MARKER} is empty: remove it")
    return found
