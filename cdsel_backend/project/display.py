"""How annotators see the images of a project: at which address, and as which picture."""

from __future__ import annotations

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.errors import LARGER_REQUESTS, TOO_LARGE, RequestRefused
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.source import annotator_address
from cdsel_backend.labelstudio.uploads import upload
from cdsel_backend.pool.browser import for_browser, surely_shown, to_png, why_not_shown
from cdsel_backend.pool.decode import UnreadableImage, read_image
from cdsel_backend.project.source import ProjectPool, source_item
from cdsel_backend.settings import ServerSettings
from cdsel_backend.sources.manifest import WEB
from cdsel_backend.store import State
from cdsel_backend.store.records import Item


class Display:
    """The addresses by which annotators of a project see its images.

    An image that has an address of its own keeps it where browsers show its file. Of one that no browser shows (TIFF,
    JPEG 2000, DICOM, deep grey), and of files that Label Studio cannot reach, a picture is uploaded into the project.
    """

    def __init__(self, studio: LabelStudio, server: ServerSettings, state: State) -> None:
        """Take the project's state.

        Raises:
            LabelStudioUnreachable, TokenRefused: Label Studio could not be asked below which path browsers find it.
        """
        self._studio = studio
        self._server = server
        self._project = state.project.pool_project
        self._in_place = state.settings.delivery == "in_place"
        self._image = space_of(state).image
        self._source = ProjectPool(studio, state)
        self._prefix = studio.prefix()

    def address(self, item: Item) -> str:
        """The address by which annotators see an image; a picture may be uploaded for it.

        Raises:
            UnreadableImage: it cannot be had any more, no browser shows it and no picture can take its place, or that
                picture is too large for what is before Label Studio.
            LabelStudioError: Label Studio did not take the picture, or is away.
        """
        inside = item.source is None
        on_web = item.image.startswith(WEB)
        if not inside and not on_web:
            data = self._source.read(source_item(item))
            return self._upload(item, *for_browser(data, max_pixels=self._server.max_image_pixels))
        own = annotator_address(source_item(item), self._prefix) if inside else item.image
        if surely_shown(item.measures or {}):
            return own
        try:
            data = self._source.read(source_item(item))
        except UnreadableImage:
            if inside and not item.measures:
                return own  # nothing says that a browser would not show it
            raise
        decoded = read_image(data, max_pixels=self._server.max_image_pixels)
        why = why_not_shown(decoded)
        if why is None:
            return own
        if self._in_place:
            raise UnreadableImage(
                f"{why}, and delivery in_place shows the pool's own files; with delivery queue_project a PNG is made"
            )
        if self._image.plain is None:
            raise UnreadableImage(
                f"{why}, and no PNG can take its place, because the labeling config puts the address together "
                f'(value="{self._image.value}"): convert the file, or let one field hold the whole address'
            )
        return self._upload(item, to_png(decoded.image), ".png")

    def _upload(self, item: Item, picture: bytes, ending: str) -> str:
        # The name of a file may name a patient: the uploaded one is called by its number.
        try:
            path = upload(self._studio, self._project, f"item-{item.task}{ending}", picture)
        except RequestRefused as fault:
            if fault.status != TOO_LARGE:
                raise
            size = f"{len(picture) / 1e6:.1f} MB"
            raise UnreadableImage(
                f"its picture for annotators has {size}, which is refused as too large ({TOO_LARGE}): {LARGER_REQUESTS}"
            ) from fault
        return f"{self._prefix}{path}"
