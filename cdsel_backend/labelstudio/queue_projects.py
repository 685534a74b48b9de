"""The queues as projects of Label Studio: whose they are, what they say of themselves, and our line in the pool's.

The pool project's description is its admin's. One line of it is ours, "cdsel: 12 of 200 labelled · ...": it is
replaced where it stands, and added at the end where there is none. All else in it is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.marks import ANNOTATOR, named_items, read_mark
from cdsel_backend.labelstudio.own_config import remember_config
from cdsel_backend.labelstudio.placing import EVERYONE
from cdsel_backend.labelstudio.queue_config import QUEUE_LINE, queue_config
from cdsel_backend.labelstudio.space import LabelSpace
from cdsel_backend.phrases import form
from cdsel_backend.store import State
from cdsel_backend.store.records import Json

SEQUENTIAL = "Sequential sampling"
_SHOWN_AS = {"Uniform sampling": "Random sampling"}  # what Label Studio's page calls it
TITLE_LENGTH = 50  # Label Studio refuses a longer one
PROBLEMS_LENGTH = 400
OUR_LINE = re.compile(r"^cdsel: \d+ of \d+ labelled · .*$", re.MULTILINE)
OWNER = re.compile(
    r"^cdsel: \d+ of \d+ labelled(?: · label in [^·\n]*)? · dashboard (\S+) · backend ([0-9a-f]{16})(?= · |\s*$)",
    re.MULTILINE,
)
FIRST_TASKS = 5  # of a project that are looked at: somebody may have imported one of another origin
ADDRESS = re.compile(r"[^\s\]]{1,254}")  # what a mark can hold of whose queue it is
NUMBERED = re.compile(r"\[cdsel queue (\d+) of project (\d+)(?: for ([^\s\]]+))?\]")


@dataclass(frozen=True)
class Owner:
    """The backend that keeps a project's books, as our line says: its dashboard, and its id (`Store.instance`)."""

    dashboard: str
    backend: str


def owner_of(description: str) -> Owner | None:
    """The backend that our line in the pool project's description names; None where no line names one."""
    found = OWNER.search(description)
    return Owner(found[1], found[2]) if found else None


def queue_projects(studio: LabelStudio, pool_project: int) -> dict[str, int]:
    """The queue projects of a pool that say so of themselves by their own number: whose -> its id, the oldest each."""
    queues: dict[str, int] = {}
    for project in sorted(studio.projects(), key=lambda project: int(project["id"])):
        for number, pool, whose in NUMBERED.findall(project.get("description") or ""):
            if int(number) == int(project["id"]) and int(pool) == pool_project:
                queues.setdefault(whose, int(number))
    return queues


def queues_by_their_tasks(studio: LabelStudio, state: State) -> dict[str, int]:
    """The queues whose description was changed so that their mark is gone, by the marks of their tasks: whose -> id.

    A queue is a project that shows annotators why an image was selected, and one of whose first tasks shows an image
    of the pool and says so; of several of one annotator, the oldest is. No connected project is the queue of another.
    """
    queues: dict[str, int] = {}
    here = state.project.studio_url  # in another Label Studio a number is another project's
    connected = {project.pool_project for project in state.store.projects() if project.studio_url == here}
    for project in sorted(studio.projects("label_config"), key=lambda project: int(project["id"])):
        number, config = int(project["id"]), project.get("label_config") or ""
        description = project.get("description") or ""
        if (
            number in connected
            or OUR_LINE.search(description)
            or NUMBERED.search(description)
            or not any(f"${field}" in config for field in QUEUE_LINE)
        ):
            continue
        first = [task["data"] for task in islice(studio.tasks(number, unreadable=set()), FIRST_TASKS)]
        by_task = state.store.items_by_task(state.project.id, named_items(first))
        data = next(
            (marked for marked in first if read_mark(marked, by_task, space_of(state)) is not None), None
        )
        if data is not None:
            queues.setdefault(_whose(data, project, state), number)
    return queues


def is_queue_of_outside_pool(studio: LabelStudio, project: Json, space: LabelSpace) -> bool:
    """Whether a project that the books know nothing of holds images from outside Label Studio that we delivered there.

    The first tasks of such a queue have a key, and show pictures that were uploaded into this very project, or our line
    in its description names no other queue: an export of them that was imported elsewhere is a pool as any other.
    """
    number, line = int(project["id"]), OUR_LINE.search(project.get("description") or "")
    first = [task["data"] for task in islice(studio.tasks(number, unreadable=set()), FIRST_TASKS)]
    marked = [data for data in first if isinstance(data.get("cdsel_key"), str) and named_items([data])]
    if not marked or len(marked) < len(first):
        return False
    uploaded = re.compile(rf"/data/upload/{number}/[0-9a-f]+-item-\d+\.\w+$")
    here = any(uploaded.search(str(space.image.read(data) or "")) for data in marked)
    return here or (line is not None and " · label in " not in line[0])


def _whose(data: Json, project: Json, state: State) -> str:
    """Whose queue it is, by the data of one of its tasks; by its title where the task is from before these said so."""
    named = data.get(ANNOTATOR)
    if isinstance(named, str) and ADDRESS.fullmatch(named):
        return named
    return next((email for email in state.settings.annotators if _is_title(project, state, email)), EVERYONE)


def ensure_queue_project(studio: LabelStudio, state: State, dashboard: str, annotator: str = EVERYONE) -> int:
    """Create a queue project, or find by its mark one whose making died before it was recorded; returns its id."""
    store = state.store
    found = _marked(studio, state.project.pool_project, annotator)
    if found is not None:
        queue = found
    else:
        pool, config = studio.project(state.project.pool_project), queue_config(state.project.label_config)
        queue = studio.create_project(
            queue_title(state, annotator),
            config,
            description=queue_description(state, dashboard, annotator),
            expert_instruction=queue_instruction(state, dashboard, pool.get("expert_instruction") or ""),
            sampling=SEQUENTIAL,
            maximum_annotations=1,
            skip_queue="IGNORE_SKIPPED",
            enable_empty_annotation=space_of(state).empty_counts,
        )
        remember_config(store, studio, queue, config)
    # Only now is its number known. A copy of the description marks no other project.
    own = {"description": queue_description(state, dashboard, annotator, queue)}
    if _is_title(studio.project(queue), state, annotator):
        own["title"] = _distinct_title(studio, state, annotator, queue)
    studio.update_project(queue, **own)
    if annotator == EVERYONE:
        store.update_project(state.project.id, queue_project=queue)
    else:
        store.set_annotators(state.project.id, {annotator: {"queue_project": queue}})
    return queue


def order_problem(queue: int, found: Json) -> str | None:
    """Why Label Studio hands out a queue in another order than that of the ranks, as a sentence; None where it does."""
    sampling, readers = found.get("sampling"), found.get("maximum_annotations") or 1
    wrong, fixes = [], []
    if sampling not in (None, SEQUENTIAL):
        wrong.append(f'its task sampling is "{_SHOWN_AS.get(sampling, sampling)}"')
        fixes.append(f"choose {SEQUENTIAL} under Settings > General of that project")
    if readers > 1:
        wrong.append(f"each of its tasks is for {readers} annotators")
        fixes.append(
            "set its maximum_annotations to 1 by Label Studio's API, since no page of it does (for second readings "
            "there is the setting overlap)"
        )
    if not wrong:
        return None
    return (
        f"the images of the queue (project {queue}) do not come in the order of their ranks, because "
        f"{' and '.join(wrong)}: {', and '.join(fixes)}"
    )


def _marked(studio: LabelStudio, pool_project: int, annotator: str) -> int | None:
    """The queue project that says so of itself: by its own number, or, where its making died before, while empty."""
    unnumbered = queue_mark(pool_project, annotator)
    for project in sorted(studio.projects(), key=lambda project: int(project["id"])):
        number, description = int(project["id"]), project.get("description") or ""
        if queue_mark(pool_project, annotator, number) in description:
            return number
        if unnumbered in description and not studio.project(number).get("task_number"):
            return number
    return None


def queue_mark(pool_project: int, annotator: str = EVERYONE, queue: int | None = None) -> str:
    """What a queue project's description holds so that its backend finds it again: the queue's own number, too."""
    whose = f" for {annotator}" if annotator else ""
    return f"[cdsel queue{f' {queue}' if queue else ''} of project {pool_project}{whose}]"


def rename_queue(studio: LabelStudio, state: State, annotator: str, queue: int, pool_title: str) -> None:
    """Let a queue project follow a new title of the pool project: its own title, unless somebody gave it another, and
    where its description and instructions name the pool project."""
    found, former = studio.project(queue), _pool_title(state)
    description, instruction = found.get("description") or "", found.get("expert_instruction") or ""
    changed = {
        "title": found["title"],
        "description": description.replace(f"“{former}”", f"“{pool_title}”"),
        "expert_instruction": instruction.replace(f">{escape(former)}</a>", f">{escape(pool_title)}</a>"),
    }
    if _is_title(found, state, annotator):
        changed["title"] = _distinct_title(studio, state, annotator, queue, pool_title)
    changed = {name: text for name, text in changed.items() if text != (found.get(name) or "")}
    if changed:
        studio.update_project(queue, **changed)


def queue_title(
    state: State, annotator: str = EVERYONE, pool_title: str = "", number: int | None = None
) -> str:
    """`Skin lesions · queue`, and the account before the @ where it is hers alone.

    `pool_title`: a new one. `number`: that of the queue, where its title is to hold it.
    """
    tail = f" · queue {annotator.partition('@')[0]}"[: TITLE_LENGTH // 2] if annotator else " · queue"
    tail += f" {number}" if number else ""
    return f"{(pool_title or _pool_title(state))[: TITLE_LENGTH - len(tail)]}{tail}"


def _distinct_title(
    studio: LabelStudio, state: State, annotator: str, queue: int, pool_title: str = ""
) -> str:
    """The title of a queue, with its number where another project has the same: annotators go by titles alone."""
    title = queue_title(state, annotator, pool_title)
    others = {project["title"] for project in studio.projects() if int(project["id"]) != queue}
    return queue_title(state, annotator, pool_title, queue) if title in others else title


def _is_title(project: Json, state: State, annotator: str) -> bool:
    """Whether a queue project still has the title that we gave it."""
    return project.get("title") in {
        queue_title(state, annotator, number=number) for number in (None, int(project["id"]))
    }


def queue_description(
    state: State, dashboard: str, annotator: str = EVERYONE, queue: int | None = None
) -> str:
    """What a queue is, whose it is, and where its dashboard is; all of it is ours."""
    whose = f"for {annotator}, " if annotator else ""
    return (
        f"The images worth labelling next, {whose}in order, chosen by cdsel from “{_pool_title(state)}” (project "
        f"{state.project.pool_project}). Press “Label All Tasks”. Import and delete nothing here: the pool project "
        f"decides, and its budget is set there. Dashboard: {dashboard} "
        f"{queue_mark(state.project.pool_project, annotator, queue)}"
    )


def queue_instruction(state: State, dashboard: str, pool_instruction: str) -> str:
    """What annotators read under Instructions: what the queue is, then the pool project's own instructions."""
    pool = f"{state.project.studio_url}/projects/{state.project.pool_project}/data"
    has_reason = state.settings.show_reason != "none"
    reason = "The line above each image says why it was chosen. " if has_reason else ""
    hint = space_of(state).hint
    return (
        "<p>These images were chosen, and put in order, so that each label teaches the model most. Press “Label All "
        "Tasks” and take them as they come; skip one only if it cannot be judged. "
        f"{reason}{hint}{' ' if hint else ''}They come from "
        f'<a href="{escape(pool)}">{escape(_pool_title(state))}</a>, whose owner can '
        f'see how far it is on the <a href="{escape(dashboard)}">dashboard</a>.</p>{pool_instruction}'
    )


def status_line(state: State, dashboard: str, backend: str, problems: Sequence[str]) -> str:
    """Our line in the pool project's description; `backend` is the id of the one that writes it."""
    wrong = " ".join("; ".join(problems).split())
    if len(wrong) > PROBLEMS_LENGTH:
        wrong = f"{wrong[: PROBLEMS_LENGTH - 1]}…"
    queues = sorted(set(state.queues.values()) - {state.project.pool_project})
    where = ", ".join(map(str, queues))
    where = f"{form(len(queues), 'project')} {where}"
    rest = "; the labels are copied here" if state.settings.mirror else ", not here"
    here = f" · label in {where}{rest}" if queues else ""
    line = f"cdsel: {len(state.labels)} of {state.budget} labelled{here} · dashboard {dashboard}"
    line += f" · backend {backend}"
    return f"{line} · problems: {wrong}" if wrong else line


def with_line(description: str, line: str) -> str:
    """A description with our line replaced where it stands, or added at its end."""
    if found := OUR_LINE.search(description):
        rest = OUR_LINE.sub("", description[found.end() :])  # a second one, as of somebody who copied it
        return f"{description[: found.start()]}{line}{rest}"
    return f"{description.rstrip()}\n\n{line}" if description.strip() else line


def _pool_title(state: State) -> str:
    return state.project.title or f"Project {state.project.pool_project}"
