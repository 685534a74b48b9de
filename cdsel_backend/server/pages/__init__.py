"""The admin's pages: one module a page, all on one blueprint."""

from cdsel_backend.server.pages import (  # noqa: F401 - importing them hangs their routes on the blueprint
    activity,
    changes,
    confounders,
    gallery,
    guide,
    image,
    models,
    overview,
    pool_map,
    queue,
    settings,
    tables,
    thumbnails,
)
from cdsel_backend.server.pages.blueprint import pages

__all__ = ["pages"]
