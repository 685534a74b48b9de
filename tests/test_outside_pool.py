"""A pool outside Label Studio, from `cdsel pool add` to labels, in a real Label Studio."""

from __future__ import annotations

import io
import json

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import LABEL_CONFIG
from PIL import Image
from sqlalchemy import update
from test_dicom import draw

from cdsel_backend.cli import main
from cdsel_backend.export.label_files import label_studio_json
from cdsel_backend.export.labelled_set import labelled_set
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.errors import TOO_LARGE, refusal
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.labelstudio.marks import read_mark
from cdsel_backend.labelstudio.queue_projects import queues_by_their_tasks
from cdsel_backend.labelstudio.uploads import upload
from cdsel_backend.pool.source import SourceItem
from cdsel_backend.project import display
from cdsel_backend.project.sentences.problems import sources_lost
from cdsel_backend.project.source import take_in
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.loop import reconcile
from cdsel_backend.reconcile.queues import write_line
from cdsel_backend.server.pages.activity import runs
from cdsel_backend.server.service import Service
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import PoolTask, State, Store, schema

SIZE = 10
DELIVERY = {
    "who": "ann",
    "name": "delivery",
    "old": "queue_project",
    "old_source": "default",
    "new": "in_place",
    "new_source": "dashboard",
}


@pytest.fixture
def folder(tmp_path):
    """Ten pictures, one DICOM file, one text, and a table of all."""
    images = tmp_path / "images"
    (images / "scans").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["path,site,patient"]
    for number in range(SIZE):
        ill, north = number % 2, number % 3 == 0
        pixels = rng.integers(0, 90, (48, 48, 3)) + np.array([80 * ill, 80 * north, 0])
        Image.fromarray(pixels.astype(np.uint8)).save(images / f"scans/{number}.png")
        rows.append(f"scans/{number}.png,{'north' if north else 'south'},p{number // 2}")
    grey = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    scan = draw(
        grey,
        PatientName="Doe^Jane",
        PatientID="MRN-4711",
        PatientSex="F",
        PhotometricInterpretation="MONOCHROME1",
    )
    (images / "scans/IM0001").write_bytes(scan)
    (images / "scans/broken.png").write_text("no picture")
    rows += ["scans/IM0001,north,p9", "scans/broken.png,south,p8", ",south,p7"]
    (images / "pool.csv").write_text("\n".join(rows))
    return images


@pytest.fixture
def world(studio, browser, tmp_path):
    """A connected project without tasks; `cdsel` on the same data folder; the loop's context."""
    server = ServerSettings(
        data_dir=tmp_path / "data",
        label_studio_url=studio.url,
        label_studio_api_key=studio.token,
        poll_seconds=1e6,
        public_url="http://127.0.0.1:9",
    )
    reply = browser.post("/api/projects", json={"title": "Outside", "label_config": LABEL_CONFIG})
    queue = reply.json()["id"]
    store = Store.open(server)
    settings = {"budget": 6, "round_size": 6, "group": "patient"}
    project = store.connect_project(
        studio.url, queue, label_config=LABEL_CONFIG, layers={"extra parameters": settings}
    )
    context = Context(store, server, LabelStudio(studio.url, studio.token))

    def cdsel(*command, of="pool"):
        environment = {
            "CDSEL_DATA_DIR": str(server.data_dir),
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": studio.token,
        }
        return CliRunner().invoke(main, [*of.split(), *map(str, command)], env=environment)

    yield context, project, queue, cdsel
    store.close()
    browser.delete(f"/api/projects/{queue}")


def until_idle(context, project):
    for _ in range(40):
        if not reconcile(context, project):
            return
    raise AssertionError("the loop does not come to rest")


def brought_by_sources(state):
    """What the page of activity says of sources that were added or removed, newest first."""
    found = runs(state.store.events(state.sources, limit=100), state)
    return [run.result for run in found if run.what.startswith("A source outside Label Studio")]


def images_of(doctor, project):
    """What `cdsel doctor` says of the images of a project."""
    rows = [
        row for row in json.loads(doctor.stdout) if (row["subject"], row["project"]) == ("images", project)
    ]
    return [(row["level"], row["message"]) for row in rows]


def refuse_first(monkeypatch):
    """Have the first upload refused, as a proxy refuses what is too large for it; returns the names of those."""
    refused: list[str] = []

    def take(studio, number, name, picture):
        if not refused:
            refused.append(name)
            raise refusal(studio.url, f"POST /api/projects/{number}/import", TOO_LARGE, "")
        return upload(studio, number, name, picture)

    monkeypatch.setattr(display, "upload", take)
    return refused


def test_from_a_table_to_labels(world, folder, studio, monkeypatch):
    context, project, queue, cdsel = world
    refused = cdsel("add", "--project", queue, folder / "none.csv")
    assert refused.exit_code == 1
    assert "none.csv" in refused.output
    assert not context.store.sources(project)
    assert "SOURCE is empty" in cdsel("add", "--project", queue, "").output
    added = cdsel("add", "--project", queue, folder / "pool.csv")
    assert added.exit_code == 0, added.output
    assert "13 images are new" in added.output
    assert "row 13 has no text" in added.output
    assert "0 images are new and 0 changed" in cdsel("add", "--project", queue, folder / "pool.csv").output
    assert images_of(cdsel("--json", of="doctor"), queue) == [
        ("ok", f"3 images of {folder / 'pool.csv'} can be read")
    ]
    store = context.store
    scan = next(item for item in store.items(project) if item.key == "scans/IM0001")
    assert scan.data["PatientSex"] == "F"
    assert not {"Doe", "Jane", "4711"} & set(json.dumps(dict(scan.data)).replace("^", " ").split())

    refused = refuse_first(monkeypatch)
    until_idle(context, project)
    large = next(item for item in store.items(project) if refused == [f"item-{item.task}.png"])
    assert "MB, which is refused as too large (413): raise the limit" in str(large.problem)
    assert len(State(store, project).open) == 5, "one image costs itself only"
    store.note_unusable([(large.id, "as before", 0.0)])  # the limit was raised, and its time has come
    until_idle(context, project)
    state = State(store, project)
    assert state.open, state.project.problems
    assert len(state.open) == 6
    assert store.embedding_progress(project) == (11, 2, 13)
    assert brought_by_sources(state) == ["13 images more in the pool"]
    tasks = {task["id"]: task["data"] for task in context.studio.tasks(queue)}
    assert len(tasks) == 6  # never more than the budget
    shown = {row.queue_task: row.item for row in state.selections}
    by_item = store.items_by_id(shown.values())
    with httpx.Client(headers={"Authorization": f"Token {studio.legacy_token}"}, timeout=60) as client:
        for task, data in tasks.items():
            item = by_item[shown[task]]
            picture = client.get(f"{studio.url}{data['image']}").content
            assert "Jane" not in json.dumps(data)
            if item.key == "scans/IM0001":
                assert Image.open(io.BytesIO(picture)).format == "PNG"
                assert b"Jane" not in picture
            else:
                assert picture == (folder / item.key).read_bytes()
            assert data["cdsel_reason"]

    # A project of Label Studio whose tasks have the numbers of these images is another pool: this is not its queue.
    numbers = {data["cdsel_item"] for data in tasks.values()}
    other = store.connect_project(studio.url, 10**6, label_config=LABEL_CONFIG)
    store.sync_pool(other, [PoolTask(n, {"image": f"/{n}.png"}, f"/{n}.png") for n in sorted(numbers)])
    by_task, space = store.items_by_task(other, numbers), space_of(State(store, other))
    assert len(by_task) == 6
    assert not any(read_mark(data, by_task, space) for data in tasks.values())
    assert queues_by_their_tasks(context.studio, State(store, other)) == {}
    store.remove_project(other)

    task = min(tasks)
    result = [
        {"from_name": "diagnosis", "to_name": "image", "type": "choices", "value": {"choices": ["malignant"]}}
    ]
    config = context.studio.project(queue)["label_config"]
    assert config.strip() == LABEL_CONFIG.strip()  # the admin's own stays as it is
    context.studio.submit(task, result)
    store.add_event(queue, "ANNOTATION_CREATED", {"tasks": [task]})
    reconcile(context, project)
    assert State(store, project).labels == {shown[task]: "malignant"}
    # Exported, the label is on the picture that its annotator saw: without one Label Studio takes no task.
    labelled = labelled_set(context.server, State(store, project))
    (made,) = json.loads(label_studio_json(labelled, space_of(State(store, project))))
    assert made["data"]["image"] == tasks[task]["image"]
    assert made["data"]["site"] == tasks[task]["site"]
    assert len(list(context.studio.tasks(queue))) == 6
    # A task of the queue is asked for by its own number, whatever number an item has.
    assert Service(context.server, store)._items(state, queue, [{"id": task}]) == {task: shown[task]}
    # What is corrected in the table reaches whoever labels; the picture stays, and what is labelled as it was seen.
    table = folder / "pool.csv"
    table.write_text(table.read_text().replace("north", "west").replace("south", "east"))
    assert "13 changed" in cdsel("add", "--project", queue, table).output
    store.add_event(queue, "ANNOTATION_CREATED", {"tasks": [task]})
    reconcile(context, project)
    new_names = {"north": "west", "south": "east"}
    for number, data in ((one["id"], one["data"]) for one in context.studio.tasks(queue)):
        site = tasks[number]["site"]
        assert data == tasks[number] | {"site": site if number == task else new_names[site]}
    # The data folder is lost: the project is no pool of its own, and once its source is named again all of it is back.
    lost = context.server.model_copy(update={"data_dir": context.server.data_dir.with_name("anew")})
    anew = Context(Store(lost.database_url, lost.vectors_folder), lost, context.studio)
    again = anew.store.connect_project(studio.url, queue, label_config=LABEL_CONFIG)
    reconcile(anew, again)
    assert anew.store.items(again) == []
    assert [one.message for one in State(anew.store, again).problems] == [sources_lost(queue)]
    table.write_text(table.read_text().replace("\n", "\nscans/not_there_before.png,west,p0\n", 1))
    source = anew.store.add_source(again, str(table), {})
    list(take_in(anew.store, source, lost.data_dir))
    anew.store.add_event(queue, "SOURCE_ADDED", {})
    reconcile(anew, again)
    found, keys = State(anew.store, again), {item.id: item.key for item in anew.store.items(again)}
    assert {keys[item]: label for item, label in found.labels.items()} == {
        by_item[shown[task]].key: "malignant"
    }
    assert {keys[item] for item in found.open} == {by_item[item].key for item in state.open} - {
        by_item[shown[task]].key
    }
    anew.store.close()
    # Annotators read the description, and files are named by patients.
    store.note_problems(project, "edited tasks", ["the data of task 5 (Doe^Jane/1.dcm) were changed"])
    write_line(context, State(store, project))
    line = context.studio.project(queue)["description"]
    assert line.endswith("problems: 1, see the dashboard")
    assert "Jane" not in line


def test_a_folder_grows_and_only_what_is_new_is_embedded(world, folder):
    context, project, queue, cdsel = world
    (folder / "pool.csv").unlink()
    assert cdsel("add", "--project", queue, folder).exit_code == 0
    store = context.store
    # There are no tasks that could be delivered in place: the images are uploaded all the same, and that is said.
    store.change_layer(
        project, lambda layers: ({**layers, "dashboard": {"delivery": "in_place"}}, [DELIVERY])
    )
    until_idle(context, project)
    state = State(store, project)
    assert len(state.open) == len(list(context.studio.tasks(queue))) == 6
    assert sum("set delivery to queue_project" in one.message for one in state.problems) == 1
    before = {item.key: item.content_hash for item in store.items(project)}
    kept = store.vectors_kept.count(store.project(project).backbone)
    Image.new("RGB", (40, 40), "red").save(folder / "scans" / "new.png")
    (folder / "scans" / "0.png").unlink()
    assert "1 image is new" in cdsel("add", "--project", queue, folder).output
    due = store.without_vector(project, limit=99, now=0.0)
    assert [item.key for item in due] == ["scans/new.png"]
    until_idle(context, project)
    assert store.vectors_kept.count(store.project(project).backbone) == kept + 1
    gone = [item.key for item in store.items(project) if item.gone]
    assert gone == ["scans/0.png"]
    assert before["scans/1.png"] in {item.content_hash for item in store.items(project)}

    stats = json.loads(cdsel("stats").output)
    assert stats["projects"][0]["items"] == 12
    assert stats["vectors"][0]["vectors"] == kept + 1
    backbone = store.project(project).backbone
    store.vectors_kept.append("unused", [f"{1:064}"], np.ones((1, 4)))
    damaged = int(store.vectors_kept.find(backbone, [before["scans/1.png"]])[0])
    files = context.server.vectors_folder / backbone
    with (files / "000000.f16").open("r+b") as file:
        file.seek(damaged * 2 * json.loads((files / "form.json").read_text())["dim"])
        file.write(b"\xff" * 8)
    assert "1 damaged, 1 to embed again" in cdsel("verify").output
    assert len(store.without_vector(project, limit=99, now=0.0)) == 1
    until_idle(context, project)
    assert "0 damaged, 0 to embed again" in cdsel("verify").output
    # As after a restore of the database beside other vectors.
    ids, positions = store.positions(project, backbone)
    with store.engine.begin() as connection:
        for item, position in zip(ids[:2].tolist(), positions[1::-1].tolist(), strict=True):
            connection.execute(update(schema.items).where(schema.items.c.id == item).values(vector=position))
    assert "0 damaged, 2 to embed again" in cdsel("verify").output
    until_idle(context, project)
    assert store.positions(project, backbone)[1].tolist() == positions.tolist()
    assert "unused: 1 vector, " in cdsel("prune").output
    assert Store(context.server.database_url).vectors_kept.backbones() == [backbone]


@pytest.mark.slow
def test_a_source_that_was_removed_takes_its_images_along_and_brings_them_back(world, folder):
    context, project, queue, cdsel = world
    store, table, other = context.store, folder / "pool.csv", folder.parent / "other"
    other.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30 + number), "blue").save(other / f"{number}.png")
    for source in (table, other):
        assert cdsel("add", "--project", queue, source).exit_code == 0
    until_idle(context, project)
    state = State(store, project)
    task, item = next(
        (row.queue_task, row.item) for row in state.selections if _is_in(store, row.item, "scans/")
    )
    choice = {"from_name": "diagnosis", "to_name": "image", "type": "choices"}
    context.studio.submit(task, [{**choice, "value": {"choices": ["benign"]}}])
    store.add_event(queue, "ANNOTATION_CREATED", {"tasks": [task]})
    until_idle(context, project)
    assert State(store, project).labels == {item: "benign"}

    unknown = cdsel("remove", "--project", queue, folder / "another.csv")
    assert unknown.exit_code == 1
    assert f"{table}, {other}" in unknown.output
    listed = next(source for source in store.sources(project) if source.address == str(table))
    removed = cdsel("remove", "--project", queue, table)
    assert removed.exit_code == 0, removed.output
    assert "left the pool: 13, of them labelled: 1" in removed.output
    # A listing that had begun before takes nothing in again, and nobody begins another.
    assert store.take_items(listed, [SourceItem("scans/late.png", "scans/late.png", {})]) == (0, 0)
    assert [source.address for source in store.sources(project)] == [str(other)]
    until_idle(context, project)
    assert store.embedding_progress(project) == (3, 0, 3)
    assert brought_by_sources(State(store, project))[0] == "13 images fewer in the pool"
    assert State(store, project).labels == {
        item: "benign"
    }  # is known, and not learned: it is not of the pool
    assert item not in State(store, project).label_changes
    assert State(store, project).open <= set(store.items_of_source(listed.id + 1).values())
    assert len(list(context.studio.tasks(queue))) <= 6  # never more than the budget
    assert "is no source" in cdsel("remove", "--project", queue, table).output

    assert "13 changed" in cdsel("add", "--project", queue, table).output
    until_idle(context, project)
    assert store.embedding_progress(project)[2] == 16
    state = State(store, project)  # of which a training, in a process of its own, may have ended by now
    assert state.trained_labels | state.label_changes == {item: "benign"}


def _is_in(store, item, folder):
    return store.items_by_id([item])[item].key.startswith(folder)


def test_a_project_with_a_pool_of_its_own_takes_no_source(world, folder):
    context, project, queue, cdsel = world
    context.studio.import_tasks(queue, [{"data": {"image": "/a.png"}}])
    reconcile(context, project)
    refused = cdsel("add", "--project", queue, folder)
    assert refused.exit_code == 1
    assert "make a project with the same labeling config" in refused.output
    assert "is not connected" in cdsel("add", "--project", 999_999, folder).output
