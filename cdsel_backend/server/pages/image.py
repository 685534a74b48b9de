"""One image: at full size, with what is known of it, why it was selected, and its history."""

from __future__ import annotations

from dataclasses import dataclass

from flask import render_template, request

from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.times import seconds_of
from cdsel_backend.project.label_text import label_reader
from cdsel_backend.server.pages.blueprint import pages, read_state, status_of
from cdsel_backend.server.pages.gallery import SHOWN, address
from cdsel_backend.server.pages.image_rows import image_rows
from cdsel_backend.server.pages.image_search import find_images
from cdsel_backend.server.pages.review import tasks_of
from cdsel_backend.server.pages.thumbnails import item_of
from cdsel_backend.server.people import name_of, names_of
from cdsel_backend.server.service import Service
from cdsel_backend.store import State
from cdsel_backend.store.records import Directive, Item
from cdsel_backend.training import ModelFormatError

WANTED = {
    Directive.EXCLUDED: "Excluded",
    Directive.FIRST: "Put first",
    None: "Put back among the others",
}
"""A change of what an admin wants, as the history says it."""


@dataclass(frozen=True)
class Happening:
    """Something that happened to an image: what, and when, in seconds since the epoch; 0: not known."""

    at: float
    sentence: str
    after: float = 0.0
    """Where the time is not known, when it happened at the earliest."""


@pages.get("/projects/<int:pool_project>/gallery/<int:item>")
def image(pool_project: int, item: int) -> str:
    """One image, and the next and the former of those that the address finds."""
    state = read_state(pool_project)
    row = item_of(state, item)
    found = find_images(state, request.args.to_dict(flat=False))
    position = found.position.get(item)
    ids = found.ids
    before = int(ids[position - 1]) if position else None
    after = int(ids[position + 1]) if position is not None and position + 1 < len(ids) else None
    listed, names, read = item in found.table.ids, names_of(state), label_reader(state)
    return render_template(
        "image.html",
        state=state,
        status=status_of(state),
        item=row,
        row=next(image_rows(found, [item]), None) if listed else None,
        position=position,
        found=found,
        before=None if before is None else address(pool_project, found.filter, item=before),
        after=None if after is None else address(pool_project, found.filter, item=after),
        gallery=address(pool_project, found.filter, page=1 if position is None else position // SHOWN + 1),
        action=address(pool_project, found.filter),
        wanted=state.directives.get(item),
        readings=[
            (
                name_of(given.annotator, names) + (", as ground truth" if given.ground_truth else ""),
                read(str(given.label)),
            )
            for given in state.readings_of([item]).get(item, ())
        ],
        shares=_shares(state, item),
        tasks=tasks_of(state, [item])[item],
        fields=_fields(state, row),
        history=history(state, row),
    )


def _shares(state: State, item: int) -> list[tuple[str, float]]:
    """The champion's probability of each class, the likeliest first; none without a champion."""
    try:
        found = Service.current().serving.of_items(state, [item])
    except ModelFormatError:
        return []  # the overview says so
    if not found:
        return []
    shares = zip(space_of(state).classes, found[item].tolist(), strict=True)
    return sorted(shares, key=lambda share: -share[1])


def _fields(state: State, item: Item) -> dict[str, object]:
    """The fields of the task, without the image's own address, and what the file says of itself."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in space_of(state).image.metadata(item.metadata).items()
    }


def history(state: State, item: Item) -> list[Happening]:
    """What happened to an image, in order of time; what has no time stands at the earliest that it can have."""
    found = []
    store, project = state.store, state.project.id
    chosen = next(iter(store.selections_of(project, [item.id])), None)
    if chosen is not None:
        made = next((row.created_at for row in state.rounds if row.number == chosen.round), 0.0)
        found.append(Happening(made, f"Selected in round {chosen.round} with rank {chosen.rank}"))
        tasks = [chosen, *store.copies_of(project, item.id)]
        for task in (row for row in tasks if row.live):
            whose = f" of {task.annotator}" if task.annotator else ""
            found.append(Happening(0.0, f"In the queue{whose} as task {task.queue_task}", made))
        for task in (row for row in tasks if row.withdrawn_at is not None):
            found.append(
                Happening(task.withdrawn_at or 0.0, f"Task {task.queue_task} was deleted in Label Studio")
            )
    names, read = names_of(state), label_reader(state)
    for given in store.labels_of(project, [item.id]):
        name = name_of(given.annotator, names)
        if given.label is not None:
            message = f"Labelled {read(given.label)} by {name}"
            message += ", marked as ground truth" if given.ground_truth else ""
        elif given.question is not None:
            message = f"Another question was answered by {name}"
        else:
            message = f"Skipped by {name}"
        found.append(Happening(seconds_of(given.updated_at), message))
    for change in store.directive_changes(project, item.id):
        found.append(Happening(change.at, f"{WANTED[change.directive]} by {change.who}"))
    return sorted(found, key=lambda happening: happening.at or happening.after)
