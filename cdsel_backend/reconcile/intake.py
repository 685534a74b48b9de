"""The steps that bring things in: tasks and labels from Label Studio, vectors of their images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cdsel_backend.labelstudio.images import ImageReader
from cdsel_backend.labelstudio.labels import LabelSpace, UnknownLabel, parse_label_space, queue_config
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.reconcile.context import REQUESTS, Context
from cdsel_backend.store import PoolTask, State

EMBED_CHUNK = 32  # images of one committed step
READERS = 4  # images fetched at once
RETRY_SECONDS = 600.0  # an unusable image is looked at again after this, doubling each time
POOL_POLL = 10  # the pool is listed once in so many polls of the queue


def sync(context: Context, state: State) -> bool:
    """Bring tasks and labels in from Label Studio, when an event says so or a poll is due."""
    project, now = state.project, time.time()
    sources = [project.pool_project] + ([project.queue_project] if project.queue_project else [])
    events = context.store.open_events(sources)
    poll = context.server.poll_seconds
    pool_due = now - project.pool_synced_at > poll * POOL_POLL or any(
        event.source == project.pool_project and event.received_at > project.pool_synced_at
        for event in events
    )
    queue_due = project.queue_project is not None and (
        now - project.queue_synced_at > poll
        or any(event.received_at > project.queue_synced_at for event in events)
    )
    if not pool_due and not queue_due:
        return False
    if pool_due:
        sync_pool(context, state, now)
    if queue_due:
        sync_queue(context, state, now)
    context.store.handle_events([event.id for event in events if event.action not in REQUESTS])
    return True


def sync_pool(context: Context, state: State, now: float) -> None:
    """Make the items what the pool project holds, and take the labels given there."""
    project = state.project
    found = context.studio.project(project.pool_project)
    if (found["title"], found["label_config"]) != (project.title, project.label_config):
        context.store.update_project(project.id, title=found["title"], label_config=found["label_config"])
    space = parse_label_space(found["label_config"])
    tasks, annotated = [], []
    for task in context.studio.tasks(project.pool_project, with_annotations=True):
        image = task["data"].get(space.image_key)
        tasks.append(PoolTask(task["id"], task["data"], image if isinstance(image, str) else ""))
        if task.get("annotations"):
            annotated.append(task)
    context.store.sync_pool(project.id, tasks)
    by_task = {row.task: row.id for row in context.store.items(project.id)}
    rows = [row for task in annotated for row in label_rows(task, by_task[task["id"]], space)]
    context.store.replace_labels(project.id, project.pool_project, rows)
    for source in filter(None, (project.pool_project, project.queue_project)):
        context.studio.ensure_webhook(source, *context.webhook(state))
    context.store.update_project(project.id, pool_synced_at=now)


def sync_queue(context: Context, state: State, now: float) -> None:
    """Take the labels given in the queue project, and keep its labeling config that of the pool."""
    project = state.project
    space = parse_label_space(project.label_config)
    found = context.studio.project(project.queue_project)
    wanted = queue_config(project.label_config)
    if found["label_config"] != wanted:
        context.studio.update_project(project.queue_project, label_config=wanted)
    by_task = {row.task: row.id for row in state.items}
    rows = []
    for task in context.studio.tasks(project.queue_project, with_annotations=True):
        item = by_task.get(task["data"].get("cdsel_item"))
        if item is not None:  # a task that somebody else put there is none of ours
            rows += label_rows(task, item, space)
    context.store.replace_labels(project.id, project.queue_project, rows)
    context.store.update_project(project.id, queue_synced_at=now)


def label_rows(task: dict[str, Any], item: int, space: LabelSpace) -> list[dict[str, Any]]:
    """The annotations of one task as rows of the label table."""
    rows = []
    for annotation in task.get("annotations") or ():
        skipped, label, problem = bool(annotation.get("was_cancelled")), None, None
        if not skipped:
            try:
                label = space.label_of(annotation.get("result") or [])
            except UnknownLabel as fault:
                problem = f"task {task['id']}, annotation {annotation['id']}: {fault}"
        rows.append(
            {
                "annotation": annotation["id"],
                "item": item,
                "label": label,
                "problem": problem,
                "skipped": skipped,
                "annotator": str(annotation.get("completed_by") or ""),
                "updated_at": str(annotation.get("updated_at") or ""),
            }
        )
    return rows


def embed(context: Context, state: State) -> bool:
    """Read and embed the next images that have no vector."""
    backbone, store, project = context.backbone(state.settings), context.store, state.project.id
    if state.project.backbone != backbone.fingerprint:
        store.update_project(project, backbone=backbone.fingerprint)
    rows = store.without_vector(project, backbone.fingerprint, limit=EMBED_CHUNK, now=time.time())
    if not rows:
        return False
    embedded, unusable, total = store.embedding_progress(project, backbone.fingerprint)
    context.tell(state, "embedding images", embedded + unusable, total)
    space, reader = parse_label_space(state.project.label_config), ImageReader(context.studio)

    def image(row: Any) -> tuple[int, Callable[[], bytes]]:
        def read() -> bytes:
            if not row.image:
                raise UnreadableImage(f"the task has no text in its image field {space.image_key!r}")
            return reader.read(row.image, row.task)

        return row.id, read

    done: list[tuple[int, str, Any]] = []
    faults: dict[int, str] = {}
    images = (image(row) for row in rows)
    for result in embed_images(backbone, images, max_pixels=context.server.max_image_pixels, threads=READERS):
        if result.vector is not None and result.content_hash is not None:
            done.append((result.key, result.content_hash, result.vector))
        else:
            faults[result.key] = result.error or "no vector came of it"
    attempts = {row.id: row.attempts for row in rows}
    store.add_vectors(backbone.fingerprint, done)
    store.note_unusable(
        [
            (item, words, time.time() + RETRY_SECONDS * 2 ** min(attempts[item], 8))
            for item, words in faults.items()
        ]
    )
    return True
