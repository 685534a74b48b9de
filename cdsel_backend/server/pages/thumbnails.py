"""Small pictures of the pool's images: read through Label Studio once, then kept on disk up to a bound."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from flask import Response, current_app, render_template, request
from flask.blueprints import BlueprintSetupState
from PIL import Image
from werkzeug.exceptions import NotFound, ServiceUnavailable

from cdsel_backend import __version__
from cdsel_backend.labelstudio.client import (
    LabelStudio,
    LabelStudioError,
    TokenRefused,
    studio_at,
)
from cdsel_backend.labelstudio.deadline import within
from cdsel_backend.pool.browser import for_browser
from cdsel_backend.pool.decode import UnreadableImage, decode
from cdsel_backend.pool.decode_journal import keep_journal, survived
from cdsel_backend.pool.prepare import content_hash
from cdsel_backend.project.source import ProjectPool, source_item
from cdsel_backend.server.pages.blueprint import pages, read_state
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State
from cdsel_backend.store.faults import sentence
from cdsel_backend.store.records import Item
from cdsel_backend.whole_file import whole_file

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
SIDE = 288  # pixels of the longer side: 144 on a sharp screen
TYPES = {f".{name}": f"image/{name}" for name in ("png", "gif", "bmp", "webp")} | {".jpg": "image/jpeg"}
KEPT_BYTES = 256 * 1024 * 1024
TRIM_EVERY = 200  # new files between looks at the bound
READERS = 3  # images read at once, so that Label Studio's own requests still find a free thread
PATIENCE = 10.0  # seconds to wait for a thumbnail
STANDSTILL = 2.0  # seconds in which none was made while all readers were busy: nobody else waits then


SLOW = "images come slowly just now; try again in a moment"


class Thumbnails:
    """Makes thumbnails and keeps them."""

    def __init__(self, server: ServerSettings, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.server = server
        self.folder = server.data_dir / "thumbnails"
        self._kept_bytes = kept_bytes
        # Threads of their own: one that reads from a share that hangs must not keep one of the web server.
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="thumbnail")
        self._guard = threading.Lock()
        self._under_way = 0
        self._moved = 0.0
        self._studios: dict[str, LabelStudio] = {}
        self._written = 0

    def thumbnail(self, state: State, item: Item) -> bytes:
        """A JPEG of an item's image, at most `SIDE` pixels wide and high.

        Raises:
            UnreadableImage, LabelStudioError: there is none; the message says why.
            ServiceUnavailable: too many are being made, or images come too slowly.
        """
        name = item.content_hash or f"{state.project.studio_url}|{item.id}|{item.image}"
        name = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        path = self.folder / name[:2] / f"{name}.jpg"
        try:
            kept = path.read_bytes()
        except OSError:
            pass
        else:
            with suppress(OSError):  # of a disk that cannot be written
                os.utime(path)  # the bound removes what nobody looked at for longest
            return kept
        return self._apart(self._make, state, item, path)

    def picture(self, state: State, item: Item) -> tuple[bytes, str]:
        """An item's image at full size, as every browser shows it, and the ending of its file's name.

        Raises:
            UnreadableImage, LabelStudioError: there is none; the message says why.
            ServiceUnavailable: too many are being made, or images come too slowly.
        """
        return self._apart(self._picture, state, item)

    def _apart(self, make: Callable[P, T], *given: P.args, **options: P.kwargs) -> T:
        """Have a reader make something, and wait for it for a while."""
        with self._guard:
            if self._under_way < READERS:
                self._moved = time.monotonic()
            elif time.monotonic() - self._moved > STANDSTILL:
                raise ServiceUnavailable(SLOW)
            self._under_way += 1
        making = self._readers.submit(make, *given, **options)
        making.add_done_callback(self._done)
        try:
            return making.result(PATIENCE)
        except LateError:
            making.cancel()  # where nobody has begun
            raise ServiceUnavailable(SLOW) from None

    def _done(self, making: Future[T]) -> None:
        with self._guard:
            self._under_way -= 1
            if not making.cancelled():
                self._moved = time.monotonic()

    def _make(self, state: State, item: Item, path: Path) -> bytes:
        data = self._read(state, item)
        with self._survived(data):
            image = decode(data, max_pixels=self.server.max_image_pixels)
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=82, optimize=True)
        try:
            self._keep(path, out.getvalue())
        except OSError as fault:  # as of a full disk: it is shown all the same
            log.warning("thumbnails are not kept: %s", sentence(fault))
        return out.getvalue()

    def _picture(self, state: State, item: Item) -> tuple[bytes, str]:
        data = self._read(state, item)
        with self._survived(data):
            return for_browser(data, max_pixels=self.server.max_image_pixels)

    def _survived(self, data: bytes) -> AbstractContextManager[None]:
        """See `decode_journal.survived`; the journal is opened here, as a web server may fork after it made this.

        What ended a worker a moment ago is known at each image, so that it does not end the server, too.
        """
        keep_journal(self.server.data_dir)
        return survived(content_hash(data), data, max_pixels=self.server.max_image_pixels)

    def _read(self, state: State, item: Item) -> bytes:
        url = state.project.studio_url
        if url not in self._studios:
            self._studios[url] = studio_at(self.server, url, self.server.token_now())
        try:
            with within(PATIENCE):
                return ProjectPool(self._studios[url], state).read(source_item(item))
        except TokenRefused:
            self._studios.pop(url, None)  # it may have been replaced
            raise

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, lasting=False) as draft:
            draft.write_bytes(data)
        self._written += 1
        if self._written % TRIM_EVERY == 1:
            self._trim()

    def _trim(self) -> None:
        """Remove the files that were not looked at for longest, until a fifth of the bound is free again."""
        files = []
        for path in self.folder.glob("*/*"):
            try:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
            except OSError:
                continue  # another process removed it
        total = sum(size for _, size, _ in files)
        if total <= self._kept_bytes:
            return
        for _, size, path in sorted(files):
            path.unlink(missing_ok=True)
            total -= size
            if total <= 0.8 * self._kept_bytes:
                return


@pages.record_once
def _prepare(setup: BlueprintSetupState) -> None:
    server = setup.app.extensions["cdsel"].server
    setup.app.extensions["cdsel_thumbnails"] = Thumbnails(server)
    # With readers of their own: a page of thumbnails under way keeps nobody from looking at one image.
    setup.app.extensions["cdsel_pictures"] = Thumbnails(server)


@pages.get("/projects/<int:pool_project>/thumbnails/<int:item>")
def thumbnail(pool_project: int, item: int) -> Response:
    """An image of the pool, small; a picture that says so where it cannot be read."""
    thumbnails: Thumbnails = current_app.extensions["cdsel_thumbnails"]
    return _shown(pool_project, item, lambda state, row: (thumbnails.thumbnail(state, row), ".jpg"))


@pages.get("/projects/<int:pool_project>/images/<int:item>")
def full_image(pool_project: int, item: int) -> Response:
    """An image of the pool at full size; a picture that says so where it cannot be read."""
    pictures: Thumbnails = current_app.extensions["cdsel_pictures"]
    return _shown(pool_project, item, pictures.picture)


def item_of(state: State, item: int) -> Item:
    """An item of a project.

    Raises:
        NotFound: the project has no such item.
    """
    row = state.store.items_by_id([item]).get(item)
    if row is None or row.project != state.project.id:
        raise NotFound(f"project {state.project.pool_project} has no image {item}")
    return row


def _shown(pool_project: int, item: int, make: Callable[[State, Item], tuple[bytes, str]]) -> Response:
    state = read_state(pool_project)
    row = item_of(state, item)
    tag = f"{__version__}-{row.content_hash}"
    if row.content_hash and request.if_none_match.contains(tag):
        return _as_it_was(Response(status=304), tag)
    try:
        data, ending = make(state, row)
    except (UnreadableImage, LabelStudioError) as fault:
        # A page of images is no place for a broken one: the reason takes its place.
        return Response(render_template("unreadable.svg", message=str(fault)), mimetype="image/svg+xml")
    return _as_it_was(Response(data, mimetype=TYPES[ending]), tag if row.content_hash else "")


def _as_it_was(response: Response, tag: str) -> Response:
    """Have the browser ask before it shows the picture again: whoever sits there next may have no login."""
    response.headers["Cache-Control"] = "private, no-cache"
    if tag:
        response.set_etag(tag)
    return response
