"""Where the items of a project come from: tasks of its pool project, or sources outside Label Studio."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.images import ImageReader
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.source import LabelStudioPool
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.dicom import VARIABLES, keyed_hash
from cdsel_backend.pool.patience import list_in_time
from cdsel_backend.pool.source import Listing, PoolSource, SourceError, SourceItem
from cdsel_backend.project.content_history import remember_files
from cdsel_backend.sources import SourceOptions, open_source
from cdsel_backend.sources.files import as_chosen
from cdsel_backend.sources.manifest import WEB
from cdsel_backend.sources.storage import is_remote
from cdsel_backend.store import State, Store
from cdsel_backend.store.leases import listing_lease, renewing
from cdsel_backend.store.records import DueItem, Item, Source
from cdsel_backend.store.sources import in_parts
from cdsel_backend.whole_file import write_first

KEY_FILE = "identifiers.key"  # the secret that identifiers of DICOM headers are hashed with
KEY_BYTES = 32
WAIT_SECONDS = 1.0  # between looks whether another process has listed a source
LONGEST_KEY_BYTES = 2000  # of an item's key: an index of PostgreSQL holds no more than 2,704
REMOTE_HEADERS = 16  # of files in a bucket that are read at once
KEPT_KEY_BYTES = 200  # of the beginning of a longer one


@dataclass(frozen=True)
class OutsideItem(SourceItem):
    """An item of a source outside Label Studio."""

    source: int = 0


class ProjectPool:
    """The images of a project, wherever each comes from."""

    def __init__(self, studio: LabelStudio, state: State) -> None:
        """Take Label Studio and the project's state.

        Raises:
            UnsupportedLabelConfig: its labeling config names no image; the message says what is wrong.
        """
        self._inside = LabelStudioPool(studio, state.project.pool_project, space_of(state).image)
        self._web = ImageReader(studio)
        # Also those that were removed: pages show what was labelled.
        self._sources = {source.id: source for source in state.store.sources(state.project.id, removed=True)}
        self._opened: dict[int, PoolSource] = {}

    def read(self, item: SourceItem) -> bytes:
        """The bytes of an item's image.

        Raises:
            UnreadableImage: there is none, or it cannot be had; the message says why.
            SourceError: the source itself is away.
        """
        if not isinstance(item, OutsideItem):
            return self._inside.read(item)
        if item.image.startswith(WEB):
            options = SourceOptions.from_json(self._sources[item.source].options)
            return as_chosen(self._web.read(item.image, 0), item.image, options)
        opened = self._opened.get(item.source)
        if opened is None:
            opened = self._opened[item.source] = _opened(self._sources[item.source])
        return opened.read(item)


def source_item(item: Item | DueItem) -> SourceItem:
    """An item of the store as its source knows it; without data where only its image is to be read."""
    data = {} if isinstance(item, DueItem) else item.data
    if item.source is None:
        return SourceItem(str(item.task), item.image, data)
    return OutsideItem(item.key or "", item.image, data, source=item.source)


def take_in(
    store: Store,
    source: Source,
    folder: Path,
    *,
    again: bool = False,
    waiting: Callable[[], object] | None = None,
) -> Iterator[tuple[int, int, int]]:
    """List a source and take in what is new or changed; yields how many were looked at, are new, and changed, so far.

    One process lists it at a time: an older listing that ends later would take away what a newer one brought.

    Args:
        store: the store.
        source: the source.
        folder: the data folder, which holds the secret for identifiers.
        again: list it whole, whatever its watermark says.
        waiting: called where another process lists it, which is waited for then; None: that one's listing is enough.

    Raises:
        SourceError: it cannot be listed; what was taken in stays, and nothing is taken for gone.
    """
    name, holder = listing_lease(source.id), secrets.token_hex(8)
    while not store.take_lease(name, holder):
        if waiting is None:
            return
        waiting()
        time.sleep(WAIT_SECONDS)
    try:
        with renewing(store, name, holder):
            # As it is by now: whoever listed it before may have been asked to read it in another way.
            yield from _list(store, store.source(source.id), folder, again=again)
    finally:
        store.release_lease(name, holder)


def _list(store: Store, source: Source, folder: Path, *, again: bool) -> Iterator[tuple[int, int, int]]:
    key, state = secret(folder), State(store, source.project)
    # Which secret it is, without saying it. By another one, as where the folder was lost, a patient had two names.
    fact, of_key = f"identifiers of source {source.id}", keyed_hash(key, "", "")
    renamed = store.fact(fact) not in (None, of_key)

    root = str(source.options.get("root") or source.address)
    at_once = REMOTE_HEADERS if is_remote(root) else 1  # pydicom keeps a core busy where files lie here

    def begin() -> tuple[PoolSource, Listing | None]:
        opened = open_source(source.address, SourceOptions.from_json(source.options), key=key)
        return opened, opened.list("" if again or renamed else source.watermark)

    opened, listing = list_in_time(source.address, begin)
    if listing is None:
        return
    gone = store.items_of_source(source.id) if listing.complete else {}
    unlisted: list[str] = []
    seen = new = changed = 0
    parts = in_parts(listing.items)
    while part := list_in_time(source.address, lambda: next(parts, None)):
        part = [replace(item, key=bounded_key(item.key)) for item in part]
        known = store.known_items(source.id, [item.key for item in part])
        if listing.complete:
            part = _once(part, known, gone)
        before = {} if renamed else known
        described = list_in_time(
            source.address, partial(_all_described, opened, part, before, again=again, at_once=at_once)
        )
        remember_files(state, source, described)
        added, other = store.take_items(source, described)
        seen, new, changed = seen + len(part), new + added, changed + other
        for item in part:
            gone.pop(item.key, None)
            if item.unlisted:
                unlisted.append(f"{item.key}/")
        yield seen, new, changed
    # A share that is not mounted is an empty folder, a table cut short has its header alone.
    if gone and not seen:
        raise SourceError(
            f"{source.address} lists no image, where it had {len(gone)}: see that it is mounted, and whole, or take "
            "it out by `cdsel pool remove`"
        )
    below = tuple(unlisted)
    store.withdraw(source.project, [item for key, item in gone.items() if not key.startswith(below)])
    store.note_listing(source.id, listing.watermark)
    store.set_fact(fact, of_key)


def bounded_key(key: str) -> str:
    """A key that every database can index: of a longer one, as a signed address may be, its beginning and a digest."""
    data = key.encode()
    if len(data) <= LONGEST_KEY_BYTES:
        return key
    return data[:KEPT_KEY_BYTES].decode("utf-8", "ignore") + hashlib.sha256(data).hexdigest()


def secret(folder: Path) -> bytes:
    """The secret of a data folder, made when it is first asked for."""
    file = folder / KEY_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_first(file, secrets.token_bytes(KEY_BYTES))
    return file.read_bytes()


def _all_described(
    opened: PoolSource,
    part: Sequence[SourceItem],
    known: Mapping[str, tuple[str, Mapping[str, Any]]],
    *,
    again: bool,
    at_once: int,
) -> list[SourceItem]:
    def described(item: SourceItem) -> SourceItem:
        return _described(opened, item, *known.get(item.key, (None, {})), again=again)

    if at_once == 1:
        return [described(item) for item in part]
    with ThreadPoolExecutor(at_once) as readers:  # each header is a request or two, and a wait
        return list(readers.map(described, part))


def _once(
    part: Sequence[SourceItem], known: Mapping[str, tuple[str, Mapping[str, Any]]], due: Collection[str]
) -> list[SourceItem]:
    """A part of a listing with each image once: where it is listed again, the first counts, and what differs is named.

    Args:
        part: the items, as listed.
        known: what the books say of those that they have: key -> stamp and data.
        due: the keys of all that the books had before the listing and that were not met in it yet.
    """
    first = {key: data for key, (_, data) in known.items() if key not in due}
    kept: list[SourceItem] = []
    for item in part:
        before = first.setdefault(item.key, item.data)
        if before is item.data:
            kept.append(item)
        elif any(before.get(name) != value for name, value in item.data.items()):
            problem = f"{item.key} is listed again with other values: give it one row; the first counts"
            kept.append(SourceItem(f"{item.key} (again)", "", item.data, problem=problem))
    return kept


def _described(
    opened: PoolSource, item: SourceItem, stamp: str | None, data: Mapping[str, Any], *, again: bool
) -> SourceItem:
    """An item with what its own file says; what the file of an unchanged image said is kept.

    Args:
        opened: the source.
        item: as it is listed.
        stamp: that of the item as it is known; None where it is not.
        data: its data as they are known.
        again: whether files of which nothing says that they changed, as those of a table, are asked again.
    """
    if item.problem is not None:
        return item
    if item.stamp and item.stamp == stamp:
        return replace(item, data={**data, **item.data})
    from_file = {name: value for name, value in data.items() if name in VARIABLES}
    if from_file and not item.stamp and not again:
        return replace(item, data={**from_file, **item.data})
    try:
        return replace(item, data={**opened.describe(item), **item.data})
    except UnreadableImage:  # without a stamp it is asked again at the next listing
        return replace(item, stamp="", data={**from_file, **item.data})


@lru_cache(maxsize=64)
def _open(address: str, options: tuple[tuple[str, object], ...]) -> PoolSource:
    # Reading images needs no secret.
    return open_source(address, SourceOptions.from_json(dict(options)), key=b"", look=False)


def _opened(source: Source) -> PoolSource:
    return _open(source.address, tuple(sorted(source.options.items())))
