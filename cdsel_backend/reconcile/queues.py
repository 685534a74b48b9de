"""The steps about the queues themselves: whose they are, that they exist, and what the pool project says of us."""

from __future__ import annotations

import logging
import time

from cdsel_backend.labelstudio.client import NotFound, RequestRefused
from cdsel_backend.labelstudio.placing import EVERYONE, stranded
from cdsel_backend.labelstudio.queue_projects import (
    ensure_queue_project,
    queue_description,
    queue_projects,
    queues_by_their_tasks,
    rename_queue,
    status_line,
    with_line,
)
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.browser import surely_hidden
from cdsel_backend.project.addresses import dashboard, own_addresses
from cdsel_backend.project.identity import known_project, note_project
from cdsel_backend.project.sentences.models import early_training
from cdsel_backend.reconcile.accounts import read_accounts
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.webhooks import ensure_webhooks
from cdsel_backend.store import State

DESCRIBE_SECONDS = 15.0  # between two writings of our line while only its numbers move
LOOKED_AT = 100  # of the first images of a pool, and of the last, for what browsers do not show
ORIGIN = "annotators"
LOST = "lost queues"  # the origin of the problem of queues that are gone

log = logging.getLogger(__name__)


def describe(context: Context, state: State) -> bool:
    """Keep our line in the pool project's description true: how far it is, the dashboard, and what is wrong."""
    if not own_addresses(context.server, state):
        return False  # nobody connected us yet
    line = _line(context, state)
    last, now = state.project.described or {"line": "", "at": 0.0}, time.time()
    wrong = line.partition(" · problems: ")[2]
    same = wrong == last["line"].partition(" · problems: ")[2]
    if line == last["line"] or (same and 0 <= now - last["at"] < DESCRIBE_SECONDS):
        return False
    write_line(context, state)
    return True


def write_line(context: Context, state: State) -> None:
    """Write our line into the pool project's description: it also says that this backend keeps the books."""
    pool, line = state.project.pool_project, _line(context, state)
    found = context.studio.project(pool).get("description") or ""
    if with_line(found, line) != found:
        context.studio.update_project(pool, description=with_line(found, line))
    context.store.update_project(state.project.id, described={"line": line, "at": time.time()})


def _line(context: Context, state: State) -> str:
    problems = [*(problem.message for problem in state.problems), *early_training(state)]
    if state.queue_is_pool and problems:
        # Annotators read this, and files outside Label Studio are often named by the patient.
        problems = [f"{len(problems)}, see the dashboard"]
    return status_line(state, dashboard(context.server, state), context.store.instance(), problems)


def find_annotators(context: Context, state: State) -> bool:
    """Look up the accounts that the setting `annotators` names, and say what is wrong with the setting."""
    unseen = set(state.settings.annotators) - state.annotators.keys()
    if unseen and state.settings.delivery == "queue_project":
        look_up(context, state)
        return True
    context.store.update_problems(state.project, ORIGIN, delivery_problems(state) + annotator_problems(state))
    return False


def find_queues(context: Context, state: State) -> None:
    """Take back queue projects that the books do not know, as after the data folder was lost or restored."""
    found = queue_projects(context.studio, state.project.pool_project)
    wanted = {EVERYONE, *state.settings.annotators} - found.keys() - state.queues.keys()
    if wanted and state.project.id not in context.looked:
        known, link = found | state.queues, dashboard(context.server, state)
        for name, queue in queues_by_their_tasks(context.studio, state).items():
            if name not in known and queue not in known.values():
                found[name] = queue
                context.studio.update_project(queue, description=queue_description(state, link, name, queue))
    for name, queue in found.items():
        if name in state.queues:
            continue
        log.warning("project %s: the queue %s is taken back", state.project.pool_project, queue)
        note_project(context.store, context.studio, context.studio.project(queue))
        if name == EVERYONE:
            context.store.update_project(state.project.id, queue_project=queue)
        else:
            context.store.set_annotators(state.project.id, {name: {"queue_project": queue}})


def rename_queues(context: Context, state: State, pool_title: str) -> None:
    """Let the queues follow a new title of the pool project."""
    if state.queue_is_pool or pool_title == state.project.title:
        return
    for name, queue in state.queues.items():
        rename_queue(context.studio, state, name, queue, pool_title)


def look_up(context: Context, state: State) -> None:
    """Ask Label Studio for the accounts of `annotators`: which it knows now, and which were removed there."""
    known, named = state.annotators, state.settings.annotators
    if not named:
        return
    try:
        users = read_accounts(context)
    except RequestRefused:  # those that are known stay so
        if named.keys() <= known.keys() and all(known[email].user is not None for email in named):
            return
        raise
    # An empty list is none: there is at least the account of our token.
    changed = [
        email for email in named if email not in known or (users and known[email].user != users.get(email))
    ]
    if changed:
        context.store.set_annotators(
            state.project.id, {email: {"user": users.get(email)} for email in changed}
        )


def delivery_problems(state: State) -> list[str]:
    """The sentences on what delivery `in_place` cannot do with the images of this pool.

    An admin reads them before the first push, which leaves out the images whose own files no browser shows.
    """
    if state.resolved.settings.delivery != "in_place":
        return []
    if state.queue_is_pool:
        return [
            "delivery in_place is for tasks of Label Studio, and the images of this pool are none: they are uploaded "
            "into the connected project, which is their queue; set delivery to queue_project"
        ]
    seen = {item.id: item for item in state.store.ends_of_pool(state.project.id, LOOKED_AT)}
    hidden = [item for item in seen.values() if surely_hidden(item.image, item.measures or {})]
    if not hidden:
        return []
    return [
        f"delivery in_place shows annotators the pool's own files, and of {number_of(len(seen), 'image')} that were "
        f"looked at, {len(hidden):,} are of a kind that no browser shows (DICOM, TIFF, JPEG 2000), such as task "
        f"{hidden[0].task}: they are left out; set delivery to queue_project, for which a PNG is made of each"
    ]


def annotator_problems(state: State) -> list[str]:
    """The sentences on why `annotators` or `overlap` cannot be obeyed, with the fix."""
    settings = state.settings
    if settings.delivery == "in_place":
        if settings.annotators or settings.overlap:
            return ["annotators and overlap need the delivery queue_project: in_place has one queue for all"]
        return []
    if not settings.annotators:
        return []
    unknown = [email for email in settings.annotators if email not in state.staff]
    messages = [
        f"annotators: Label Studio knows no account {email}; invite it there (Organization > Add Members) or correct "
        "the address; the others go on meanwhile"
        for email in unknown
    ]
    if settings.overlap and len(state.staff) < 2:
        messages.append("overlap needs two annotators: no image is read twice")
    if state.staff and not sum(state.places.values()):
        if state.left:
            messages.append(
                f"annotators: their quotas are used up while the budget has {number_of(state.left, 'image')} left; "
                "raise a quota, or name another annotator"
            )
        if idle := stranded(state):
            messages.append(
                f"annotators: {number_of(len(idle), 'image waits', 'images wait')} in queues of people who are no "
                "annotators any more; raise a quota so that others may get them"
            )
    return messages


def open_queues(context: Context, state: State) -> bool:
    """Create the queues that are to be filled and are not there; returns whether any was missing."""
    wanted = [name for name, quota in state.staff.items() if quota is None or state.places[name]]
    missing = [name for name in wanted if name not in state.queues]
    for name in missing:
        queue = ensure_queue_project(context.studio, state, dashboard(context.server, state), name)
        note_project(context.store, context.studio, context.studio.project(queue))
        ensure_webhooks(context, state, [queue])  # the next look at all of them says what is wrong
    return bool(missing)


def forget_lost(context: Context, state: State) -> bool:
    """Forget the queues that were deleted in Label Studio; returns whether there was any.

    What was answered there stays. What was open there is selected and in no queue again, so that `push` puts it into
    one that is left, or into a new one.
    """
    lost = {name: queue for name, queue in state.queues.items() if not _exists(context, queue)}
    # Where not even the pool project is found it is the account of our token that sees nothing.
    if not lost or not _exists(context, state.project.pool_project):
        return False
    left = set(state.sources) - set(lost.values())
    for name, queue in lost.items():
        context.store.forget_queue(state.project.id, name, sources=left)
        message = lost_message(name, queue)
        log.warning("project %s: %s", state.project.pool_project, message)
        known = context.store.project(state.project.id).problems.get(LOST, [])
        context.store.note_problems(state.project.id, LOST, [*known, message])
    return True


def lost_message(name: str, queue: int) -> str:
    """That a queue is gone and what becomes of it, as a sentence."""
    whose = f"the queue of {name}" if name else "the queue"
    return (
        f"{whose} (project {queue}) was deleted in Label Studio: the labels that had come from it stay, and its open "
        "images go to another queue; a new one is made where it is needed, and its annotators have to be sent there"
    )


def settle_lost(context: Context, state: State) -> None:
    """Take the problem of lost queues back, once no image is open or waits to be pushed."""
    if LOST in state.project.problems and not state.open and not state.waiting:
        context.store.note_problems(state.project.id, LOST, [])


def _exists(context: Context, project: int) -> bool:
    try:
        known_project(context.store, context.studio, project)
    except NotFound:
        return False
    return True
