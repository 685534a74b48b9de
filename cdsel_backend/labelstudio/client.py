"""Label Studio's API, as the loop needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdsel_backend.labelstudio.backends import Backends
from cdsel_backend.labelstudio.errors import (
    LabelStudioError,
    LabelStudioUnreachable,
    NotFound,
    RequestRefused,
    TokenRefused,
)
from cdsel_backend.labelstudio.predictions import Predictions, PredictionsRefused
from cdsel_backend.labelstudio.tasks import Tasks

if TYPE_CHECKING:  # settings load what selects, which takes a while
    from cdsel_backend.settings import ServerSettings

__all__ = [
    "LabelStudio",
    "LabelStudioError",
    "LabelStudioUnreachable",
    "NotFound",
    "PredictionsRefused",
    "RequestRefused",
    "TokenRefused",
    "studio_at",
]


class LabelStudio(Tasks, Predictions, Backends):
    """What we ask of Label Studio. Its methods may be called from several threads.

    Each may raise LabelStudioUnreachable or TokenRefused, where nothing can be asked, NotFound or, for any other
    refusal, RequestRefused with Label Studio's own words.
    """


def studio_at(server: ServerSettings, url: str, token: str | None = None) -> LabelStudio:
    """The Label Studio at an address, with a token: by default that of the settings, and with their other switches.

    Raises:
        LabelStudioError, TokenRefused: see `Connection`.
    """
    return LabelStudio(
        url,
        server.label_studio_api_key if token is None else token,
        image_hosts=server.image_hosts,
        image_roots=server.image_roots,
    )
