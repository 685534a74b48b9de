"""The gallery: every image, found by whatever is known of it, and what an admin wants of one or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Response, flash, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest

from cdsel_backend.phrases import form
from cdsel_backend.server.image_filter import AREA, ORDERS, PAGE, SEARCH, ImageFilter
from cdsel_backend.server.pages.blueprint import (
    csv_file,
    number_of,
    page_of,
    pages,
    read_state,
    status_of,
    who,
)
from cdsel_backend.server.pages.image_rows import columns_of, image_rows
from cdsel_backend.server.pages.image_search import FoundImages, find_images
from cdsel_backend.store import State
from cdsel_backend.store.numbers import number_in
from cdsel_backend.store.records import Directive
from cdsel_backend.table import csv_lines

SHOWN = 48  # images of a page
COMMON = ("label", "prediction", "round", "state")  # facets that are always in sight
DIRECTIVES = {"exclude": Directive.EXCLUDED, "first": Directive.FIRST, "clear": None}
"""What a button of the page asks for."""


@dataclass(frozen=True)
class Chip:
    """A filter that is set, and the address without it."""

    name: str
    value: str
    without: str


@pages.get("/projects/<int:pool_project>/gallery")
def gallery(pool_project: int) -> str:
    """A page of the images that the address asks for."""
    state = read_state(pool_project)
    status = status_of(state)
    if not status["items"]:
        return render_template("gallery.html", state=state, status=status, found=None)
    found = find_images(state, request.args.to_dict(flat=False))
    page, pages_in_all = page_of(len(found.ids), SHOWN)
    shown = found.ids[(page - 1) * SHOWN : page * SHOWN].tolist()
    return render_template(
        "gallery.html",
        state=state,
        status=status,
        found=found,
        rows=list(image_rows(found, shown)),
        chips=_chips(pool_project, found),
        common=[facet for facet in found.facets if facet.key in COMMON],
        further=[facet for facet in found.facets if facet.key not in COMMON],
        orders={
            name: message
            for name, message in ORDERS.items()
            if name != "doubt" or found.facet("doubt") is not None
        },
        address_csv=_csv_address(pool_project, found),
        page=page,
        pages_in_all=pages_in_all,
        address=lambda **changed: address(pool_project, found.filter, **changed),
        last=state.store.last_change(state.project.id),
    )


@pages.get("/projects/<int:pool_project>/gallery.csv")
def gallery_csv(pool_project: int) -> Response:
    """Everything known of the images that the address asks for."""
    found = find_images(read_state(pool_project), request.args.to_dict(flat=False))
    ids = found.ids.tolist()
    lines = csv_lines(columns_of(found, ids), (row.cells() for row in image_rows(found, ids)))
    return csv_file(lines, f"project-{pool_project}-images")


@pages.post("/projects/<int:pool_project>/gallery")
def direct_images(pool_project: int) -> Response:
    """Exclude images, put them first or back among the others: those that are ticked, or all that the address finds."""
    state = read_state(pool_project)
    action = request.form.get("action", "")
    if action == "undo":
        undone = state.store.undo_directives(state.project.id, who=who(), at=request.form.get("at"))
        if undone is None:
            flash("Images were changed meanwhile: nothing is undone.")
        else:
            flash(f"Undone for {_images(undone)}." if undone else "There is nothing to undo.")
        return _back(pool_project)
    if action not in DIRECTIVES:
        raise BadRequest(f"ask for one of {', '.join([*DIRECTIVES, 'undo'])}")
    items = _meant(state)
    if not items:
        flash("Tick the images that are meant, or choose all that were found.")
        return _back(pool_project)
    changed = state.store.direct(state.project.id, items, DIRECTIVES[action], who=who())
    flash(sentence(read_state(pool_project), items, changed, DIRECTIVES[action]))
    return _back(pool_project)


def _meant(state: State) -> list[int]:
    """The items that a form is about, all of this project.

    Raises:
        BadRequest: the filter finds other images by now than the page said, or an item is none of this project.
    """
    if request.form.get("scope") == "all":
        ids = find_images(state, request.args.to_dict(flat=False)).ids
        if str(len(ids)) != request.form.get("found"):
            raise BadRequest(
                f"the filter finds {_images(len(ids))} by now, not as many as the page said: look at them again first"
            )
        return [int(item) for item in ids]
    ticked = (number_in(item) for item in request.form.getlist("item"))
    items = [item for item in ticked if item is not None]
    known = state.store.items_by_id(items)
    if any(item not in known or known[item].project != state.project.id for item in items):
        raise BadRequest("an image that is ticked is none of this project: reload the page and try again")
    return items


def sentence(state: State, items: Sequence[int], changed: int, wanted: Directive | None) -> str:
    """What a change comes to, for the admin who made it."""
    if not changed:
        return "Nothing was changed: that was wanted of these images already."
    if wanted is None:
        return f"{_images(changed)} {_are(changed)} selected as all others again."
    meant = set(items)
    if wanted is Directive.EXCLUDED:
        open_now = len(meant & state.open)
        message = f"{_images(changed)} {_are(changed)} excluded and will not be selected."
        if open_now:
            message += (
                f" {_images(open_now)} in the queue {form(open_now, 'leaves', 'leave')} it in a moment, unless "
                "somebody has begun to label there."
            )
        return message
    message = (
        f"{_images(changed)} {_are(changed)} put first: the next selection begins with {_them(changed)}."
    )
    before = len(meant & (state.labels.keys() | state.pushed | set(state.waiting_items)))
    if before:
        message += (
            f" {_images(before)} {_are(before)} labelled or selected already, which this does not change."
        )
    if not state.left:
        message += " The budget is used up, so that nothing is selected until it is raised."
    return message


def address(pool_project: int, wanted: ImageFilter, *, page: int = 1, item: int | None = None) -> str:
    """The address of a page of the gallery, or of one image, under a filter."""
    arguments = wanted.arguments() | ({PAGE: [str(page)]} if page > 1 else {})
    return _address(pool_project, arguments, item)


def _csv_address(pool_project: int, found: FoundImages) -> str:
    arguments = urlencode(found.filter.arguments(), doseq=True)
    return url_for("pages.gallery_csv", pool_project=pool_project) + (f"?{arguments}" if arguments else "")


def _address(pool_project: int, arguments: Mapping[str, Sequence[str]], item: int | None) -> str:
    if item is None:
        path = url_for("pages.gallery", pool_project=pool_project)
    else:
        path = url_for("pages.image", pool_project=pool_project, item=item)
    return f"{path}?{urlencode(arguments, doseq=True)}" if arguments else path


def _chips(pool_project: int, found: FoundImages) -> list[Chip]:
    wanted = found.filter
    chips = [
        Chip(facet.name, level, address(pool_project, wanted.without(facet.key, level)))
        for facet in found.facets
        for level in wanted.levels.get(facet.key, ())
    ]
    if wanted.search:
        chips.append(Chip("search", wanted.search, address(pool_project, wanted.without(SEARCH))))
    if wanted.area:
        chips.append(Chip("area", "drawn on the map", address(pool_project, wanted.without(AREA))))
    return chips


def _back(pool_project: int) -> Response:
    """To the same page of the gallery; or to the image whose page the form was on."""
    arguments = request.args.to_dict(flat=False)
    item = number_in(request.form.get("from", ""))
    if item is not None:
        arguments.pop(PAGE, None)
    return redirect(_address(pool_project, arguments, item), 303)  # type: ignore[return-value]


def _images(number: int) -> str:
    return number_of(number, "image")


def _are(number: int) -> str:
    return form(number, "is", "are")


def _them(number: int) -> str:
    return form(number, "it", "them")
