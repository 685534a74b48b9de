"""`cdsel pool`: pools outside Label Studio, and the vectors that are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice

import click
import numpy as np

from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.phrases import form, number_of
from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.source import PoolSource, SourceError, SourceItem
from cdsel_backend.project.source import take_in
from cdsel_backend.server.installation import Installation, open_installation
from cdsel_backend.sources import SourceOptions
from cdsel_backend.sources.manifest import IN_ONE_FILE, WEB, reader_of
from cdsel_backend.sources.overlap import image_folder, may_share, whole_paths
from cdsel_backend.sources.storage import is_remote
from cdsel_backend.store import State, Store
from cdsel_backend.store.records import Source
from cdsel_backend.table import plain_path

EVENT, REMOVED = "SOURCE_ADDED", "SOURCE_REMOVED"
TYPED = 100_000  # images whose metadata `cdsel pool add` looks at, a few seconds
TRIED = 5  # of the first images, whether any can be read
LISTED_NOW = (
    "Another process, such as the worker, lists this source now: it is listed anew once that is done."
)
TABLES = 3  # of a folder that is added, named
REASONS = 10  # of images that cannot be used, shown


@click.group()
@click.pass_context
def pool(context: click.Context) -> None:
    """Add images from outside Label Studio to a pool; look at, check and clear the vectors that are kept."""
    context.obj = open_installation(context)


@pool.command()
@click.option("--project", type=int, required=True, help="The connected project in Label Studio: the queue.")
@click.option(
    "--image", help="The column that names the image (tables); none: path, image, file and the like."
)
@click.option("--root", help="The folder or prefix that paths in a table start from; none: the table's own.")
@click.option(
    "--frame", type=click.IntRange(min=0), help="The frame of DICOM files, from 0; none: the middle."
)
@click.option(
    "--burned-in", is_flag=True, help="Use DICOM files whose header says that pixels show the patient."
)
@click.argument("source")
@click.pass_obj
def add(
    installation: Installation,
    project: int,
    image: str | None,
    root: str | None,
    frame: int | None,
    burned_in: bool,
    source: str,
) -> None:
    """Add the images of SOURCE to the pool of a project, or look again for what is new there.

    SOURCE is a .csv, .tsv, .jsonl, .ndjson (each perhaps with .gz) or .parquet file with a row for each image, a
    folder, or a prefix such as s3://bucket/folder. The other columns of a table become variables; name the one with
    the patient in the setting `group`. The connected project is then the queue: selected images are uploaded into it,
    never more than the budget.
    """
    state = installation.state(project)
    _refuse_other_pools(state, project)
    if not source.strip():
        raise click.ClickException(
            "SOURCE is empty: name a table, a folder, or a prefix such as s3://bucket/folder"
        )
    if source not in {known.address for known in installation.store.sources(state.project.id)}:
        source = whole_address(source)
    root = root and whole_address(root)
    options = SourceOptions(image=image, root=root, frame=frame, burned_in=burned_in)
    try:
        # Before anything is kept: a source that cannot be read changes nothing.
        from cdsel_backend.sources import open_source

        opened = open_source(source, options, key=b"")
        listing = opened.list()
        unread = _unread(opened, islice(listing.items if listing else (), TRIED))
        kept = installation.store.add_source(state.project.id, source, options.to_json())
        counts = (0, 0, 0)
        for counts in take_in(
            installation.store, kept, installation.server.data_dir, again=True, waiting=_say_once(LISTED_NOW)
        ):
            click.echo(f"{counts[0]:,} looked at, {counts[1]:,} new, {counts[2]:,} changed", err=True)
    except SourceError as fault:
        raise click.ClickException(str(fault)) from None
    except KeyboardInterrupt as stopped:
        stopped.args = ("What was looked at is in the pool: the same command takes in the rest.",)
        raise
    installation.store.add_event(project, EVENT, {"source": source, "images": counts[1]})
    _report_added(installation.store, state, kept, looked_at=counts[0], new=counts[1], changed=counts[2])
    if unread:
        click.echo(unread, err=True)


def _say_once(sentence: str) -> Callable[[], None]:
    """A function that says a sentence when it is called first."""
    return lru_cache(lambda: click.echo(sentence, err=True))


def _unread(opened: PoolSource, items: Iterable[SourceItem]) -> str:
    """That none of the first images can be read, and the fix; empty where one can."""
    tried = [item for item in items if item.problem is None and not item.image.startswith(WEB)]
    why = ""
    for item in tried:
        try:
            opened.read(item)
        except (UnreadableImage, SourceError) as fault:
            why = why or str(fault)
        else:
            return ""
    return why and (
        f"None of the first {number_of(len(tried), 'image')} can be read: {why}. Paths in a table start from its own "
        "folder: where they start from another, give the same command with --root FOLDER; where another column names "
        "the images, with --image COLUMN."
    )


def _refuse_other_pools(state: State, project: int) -> None:
    """See that the connected project can be the queue of a pool outside Label Studio.

    Raises:
        click.ClickException: its labeling config or its tasks are in the way.
    """
    try:
        plain = space_of(state).image.plain
    except ValueError as fault:
        raise click.ClickException(str(fault)) from None
    if plain is None or not plain.isidentifier():
        raise click.ClickException(
            'the labeling config must show the image by a plain field, such as <Image value="$image"/>'
        )
    if not state.queue_is_pool and state.item_count:
        raise click.ClickException(
            f"project {project} holds tasks that are its pool: make a project with the same labeling config and "
            "without tasks, connect it, and add the source there"
        )


def _report_added(
    store: Store, state: State, source: Source, *, looked_at: int, new: int, changed: int
) -> None:
    """Say what came of an addition: images that are left out, what is odd about variables, and the counts."""
    for item in store.unusable(state.project.id, limit=REASONS):
        name = str(item.key or item.task)
        click.echo(f"left out: {name}: {(item.problem or '').removeprefix(f'{name}: ')}", err=True)
    progress = store.embedding_progress(state.project.id)
    is_table = reader_of(source.address) is not None
    if not looked_at and is_table:
        click.echo("The table has no rows.", err=True)
    elif not looked_at:
        click.echo(
            "No image was found there. Of a folder, files are taken that are named as images (.png, .jpg, .tif, .dcm "
            "...), and files without an ending; hidden ones are not.",
            err=True,
        )
    known = {other.address for other in store.sources(source.project)}
    if not is_table and (tables := _tables_in(source.address, known, below=not looked_at)):
        parts = f" A table in parts: {IN_ONE_FILE}." if len(tables) > 1 else ""
        click.echo(
            f"{', '.join(tables)} in that folder: the columns of a table are variables only where the table itself is "
            f"the source. To have them, take the folder out (cdsel pool remove), and add the table.{parts}",
            err=True,
        )
    for sentence in _doubles(store, source):
        click.echo(sentence, err=True)
    for column in added_variables(state):
        if column.note:
            click.echo(f"{column.name}: {column.note}.", err=True)
    click.echo(
        f"{number_of(new, 'image is', 'images are')} new and {changed:,} changed; the pool has {progress.items:,}, "
        f"{progress.unusable:,} of them left out. The worker embeds what is new."
    )


def _tables_in(folder: str, known: Collection[str], *, below: bool) -> list[str]:
    """The first tables that lie in a folder of this machine, by their paths, without those that are known; `below`: or
    in folders of it."""
    if is_remote(folder):
        return []
    walked = os.walk(folder) if below else islice(os.walk(folder), 1)
    found = (os.path.join(where, name) for where, _, names in walked for name in names if reader_of(name))
    return sorted(os.path.relpath(path, folder) for path in found if path not in known)[:TABLES]


def _doubles(store: Store, added: Source) -> Iterator[str]:
    """Which other sources list images of one that was added, as sentences with the fix."""
    folder = image_folder(added.address, SourceOptions.from_json(added.options))
    own: dict[str, str] = {}
    for other in store.sources(added.project):
        there = image_folder(other.address, SourceOptions.from_json(other.options))
        if other.id == added.id or not may_share(folder, there):
            continue
        own = own or whole_paths(folder, store.items_of_source(added.id))
        both = own.keys() & whole_paths(there, store.items_of_source(other.id)).keys()
        if both:
            yield (
                f"{number_of(len(both), 'image')} of it, such as {own[min(both)]}, {form(len(both), 'is', 'are')} in "
                f"the source {other.address}, too, and so in the pool twice, with the variables of each. Take one of "
                "both sources out by `cdsel pool remove`."
            )


@pool.command()
@click.option("--project", type=int, required=True, help="The connected project in Label Studio: the queue.")
@click.argument("source")
@click.pass_obj
def remove(installation: Installation, project: int, source: str) -> None:
    """Take the images of SOURCE out of the pool of a project, and list it no more.

    SOURCE is written as it was added; `cdsel pool stats` shows it. Open tasks of its images leave the queue, and their
    labels are learned no more. Nothing is deleted: where the source is added again, images and labels are back.
    """
    state, store = installation.state(project), installation.store
    known = {other.address: other for other in store.sources(state.project.id)}
    found = known.get(source) or known.get(whole_address(source))
    if found is None:
        named = ", ".join(known) if known else "none"
        raise click.ClickException(f"{source} is no source of project {project}; its sources: {named}")
    store.remove_source(found.id)  # first: a listing that goes on would take them in again
    items = list(store.items_of_source(found.id).values())
    labelled = len(state.labels.keys() & set(items))
    store.withdraw(state.project.id, items)
    store.add_event(project, REMOVED, {"source": found.address, "images": -len(items)})
    click.echo(
        f"{found.address} is removed. Images that left the pool: {len(items):,}, of them labelled: {labelled:,}. "
        "Add the source again to have them back."
    )


@pool.command()
@click.pass_obj
def stats(installation: Installation) -> None:
    """Say what each pool holds, and what the vectors take up, as one JSON object."""
    store, kept = installation.store, installation.store.vectors_kept
    projects = []
    for project in store.projects():
        progress = store.embedding_progress(project.id)
        projects.append(
            {
                "project": project.pool_project,
                "items": progress.items,
                "embedded": progress.embedded,
                "left_out": progress.unusable,
                "backbone": project.backbone,
                "sources": [source.address for source in store.sources(project.id)],
            }
        )
    vectors = [
        {"backbone": name, "vectors": kept.count(name), "bytes": kept.size_bytes(name)}
        for name in kept.backbones()
    ]
    click.echo(json.dumps({"projects": projects, "vectors": vectors}, indent=2, ensure_ascii=False))


@pool.command()
@click.pass_obj
def verify(installation: Installation) -> None:
    """Check every vector against its checksum and its image's; what is damaged, lost or another's is embedded again."""
    store, kept = installation.store, installation.store.vectors_kept
    total = 0
    backbones = sorted(
        {*kept.backbones(), *(project.backbone for project in store.projects() if project.backbone)}
    )
    if not backbones:
        click.echo(_nothing_kept(installation, "check"))
    for backbone in backbones:
        damaged = kept.verify(backbone)
        if len(damaged):
            kept.forget(backbone, damaged)
        lost = store.forget_vectors(backbone, np.asarray(damaged), kept.count(backbone))
        total += lost
        click.echo(
            f"{backbone}: {number_of(kept.count(backbone), 'vector')}, {len(damaged):,} damaged, "
            f"{lost:,} to embed again"
        )
    if total:
        click.echo("The worker embeds them again at its next look.")


@pool.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.pass_obj
def prune(installation: Installation, dry_run: bool) -> None:
    """Delete the vectors of backbones that no project and no model uses.

    Projects that were removed from the dashboard use none. What they have in common with another project stays.
    """
    store, kept = installation.store, installation.store.vectors_kept
    models = installation.server.data_dir / "models"
    users: dict[str, set[int]] = {backbone: set() for backbone in kept.backbones()}
    for project in store.projects():
        files = models.glob(f"{project.id}/*/*.json")
        users_text = project.backbone + "".join(
            file.read_text(encoding="utf-8", errors="replace") for file in files
        )
        for backbone in users:
            if backbone in users_text:
                users[backbone].add(project.pool_project)
    left = {project.backbone for project in store.projects(removed=True)}
    if not users:
        click.echo(_nothing_kept(installation, "delete"))
    freed = 0
    for backbone, projects in users.items():
        if projects:
            if backbone in left:
                named = ", ".join(map(str, sorted(projects)))
                click.echo(
                    f"{backbone}: stays, though a project was removed: project {named} has the same backbone"
                )
            continue
        freed += kept.size_bytes(backbone)
        click.echo(
            f"{backbone}: {number_of(kept.count(backbone), 'vector')}, {number_of(kept.size_bytes(backbone), 'byte')}"
        )
        if not dry_run:
            try:
                kept.remove(backbone)
            except OSError as fault:
                raise click.ClickException(
                    f"the vectors of {backbone} cannot be deleted ({fault.strerror}): see that you may write to "
                    f"{installation.server.vectors_folder}, and run the same command again"
                ) from None
    click.echo(f"{number_of(freed, 'byte')} {'would be freed' if dry_run else 'freed'}")


def _nothing_kept(installation: Installation, what: str) -> str:
    return (
        f"No vectors are kept in {installation.server.vectors_folder}: there is nothing to {what}. If images are "
        "embedded already, set CDSEL_DATA_DIR to that of `cdsel serve`."
    )


def added_variables(state: State) -> list[Column]:
    """The metadata of the pool's first images, typed."""
    image = space_of(state).image
    items = chain.from_iterable(state.store.iter_items(state.project.id))
    return read_columns(image.metadata(item.metadata) for item in islice(items, TYPED))


def whole_address(address: str) -> str:
    """An address that means the same wherever the worker runs, in one spelling: a path is that from its root on."""
    if is_remote(address):
        scheme, _, path = address.strip().partition("://")
        return f"{scheme.lower()}://{path.rstrip('/')}"
    return os.path.abspath(os.path.expanduser(plain_path(address).removeprefix("file://")))
