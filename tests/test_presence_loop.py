"""Multiple choice and regions through the whole loop, on a real Label Studio with a real worker."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from backend import eventually
from click.testing import CliRunner
from desk import write_half_a_character

from cdsel_backend.cli import main
from cdsel_backend.labels import label_names, presence_text
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.project.embedded import read_pool
from cdsel_backend.store import State, Store
from cdsel_backend.training import load

TEMPLATES = Path(__file__).parents[1] / "label_config"
CONFIGS = {
    name: (TEMPLATES / f"{name}.xml").read_text(encoding="utf-8") for name in ("multiple_choice", "regions")
}
PAGES = (
    "",
    "/confounders",
    "/confounders?variable=site",
    "/map",
    "/map.bin",
    "/models",
    "/queue",
    "/status.json",
)
ROUND = 12


@pytest.fixture
def state(backend, pool_project):
    """The state of the pool project as it stands, read from the backend's own database."""
    store = Store(f"sqlite:///{backend.folder / 'cdsel.sqlite3'}")
    yield lambda: State(store, store.project_of(pool_project.id).id)
    store.close()


def shown(pool_project, task):
    """What an image of the sample shows: a class of the disease, one by chance, both or none."""
    nodule = {"nodule"} if pool_project.truth[task] == "malignant" else set()
    return nodule | ({"effusion"} if task % 2 else set())


def answer(space, names):
    """What the annotator's browser sends: choices, or one rectangle for each name."""
    if not space.regions:
        return space.result_for(presence_text(names))
    place = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
    return [
        {
            "from_name": space.control,
            "to_name": space.to_name,
            "type": space.value_key,
            "original_width": 64,
            "original_height": 64,
            "value": place | {space.value_key: [name]},
        }
        for name in sorted(names)
    ]


def set_config(browser, project, config):
    reply = browser.patch(f"/api/projects/{project}", json={"label_config": config})
    assert reply.status_code == 200, reply.text


def connect(client, browser, backend, pool_project, config):
    set_config(browser, pool_project.id, config)
    settings = {"budget": 2 * ROUND + 4, "round_size": ROUND, "retrain_every": 1000, "group": "patient_id"}
    client.connect_backend(pool_project.id, backend.url, title="cdsel", extra_params=json.dumps(settings))


def label_round(client, backend, pool_project, space, pushed, names):
    """Wait until so many images are pushed, and label what is open; returns the queue and pool task -> names."""
    status = eventually(
        lambda: (
            (one := backend.status(pool_project.id))
            and sum(row["pushed"] for row in one.get("rounds", ())) >= pushed
            and one
        ),
        f"{pushed} images were never pushed",
        details=backend.tail,
    )
    given = {}
    while (task := client.next_task(status["queue_project"])) is not None:
        item = task["data"]["cdsel_item"]
        given[item] = names(item)
        client.submit(task["id"], answer(space, given[item]))
    return status["queue_project"], given


def trained_on(backend, pool_project, round_number):
    """Wait until a model was trained on the labels of a round; returns its version."""

    def ask():
        rounds = backend.status(pool_project.id).get("rounds", ())
        return next((row["model_version"] for row in rounds if row["round"] == round_number), None)

    return eventually(ask, "no model was trained", details=backend.tail)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_two_rounds_a_model_and_the_queue_goes_on(
    kind, studio, client, browser, backend, pool_project, state, monkeypatch, tmp_path
):
    space = parse_label_space(CONFIGS[kind])
    connect(client, browser, backend, pool_project, CONFIGS[kind])
    truth = {}
    for number in (1, 2):
        queue, given = label_round(
            client, backend, pool_project, space, number * ROUND, lambda task: shown(pool_project, task)
        )
        truth |= given
        trained_on(backend, pool_project, number)
    assert len(truth) == 2 * ROUND
    assert client.project(queue)["enable_empty_annotation"] is True
    label_round(client, backend, pool_project, space, 2 * ROUND + 4, lambda task: shown(pool_project, task))
    now = state()
    task_of = {row.id: row.task for row in now.items}
    labels = {task_of[item]: set(label_names(label)) for item, label in now.labels.items()}
    assert {task: labels[task] for task in truth} == truth
    assert set() in truth.values()  # "none of them" is a label
    eventually(  # the last images of the budget were shown with a prediction
        lambda: any(row["model_version"] for row in client.predictions(queue)),
        "no prediction was pushed",
        details=backend.tail,
    )
    for row in client.predictions(queue):
        assert 0 <= row["score"] <= 1
        names = [name for part in row["result"] for name in part["value"].get("choices", ["a region"])]
        assert set(names) <= (set() if kind == "regions" else set(space.classes))
    (one,) = httpx.post(
        f"{backend.url}/predict",
        json={"project": f"{pool_project.id}.1", "tasks": [{"id": task_of[now.items[0].id], "data": {}}]},
        timeout=30,
    ).json()["results"]
    assert one["model_version"].startswith("cdsel-")
    assert kind != "regions" or one["result"] == []
    for page in PAGES:
        reply = backend.ask(f"/projects/{pool_project.id}{page}")
        assert reply.status_code == 200, (page, reply.text[:2000])
    assert backend.status(pool_project.id)["problems"] == []
    budget = 2 * ROUND + 4
    now = eventually(
        lambda: one if len((one := state()).labels) == budget else None,
        "labels are missing",
        details=backend.tail,
    )
    the_labelled_set_goes_round(kind, client, backend, pool_project, now, studio.token, monkeypatch, tmp_path)


def the_labelled_set_goes_round(kind, client, backend, pool_project, now, client_token, monkeypatch, folder):
    """Exported as JSON, imported into a project of its own, it holds the same annotations; regions as COCO, too."""
    monkeypatch.setenv("CDSEL_DATA_DIR", str(backend.folder))
    monkeypatch.setenv("LABEL_STUDIO_URL", client.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", client_token)
    monkeypatch.delenv("CDSEL_DATABASE_URL", raising=False)
    space, said = parse_label_space(CONFIGS[kind]), []

    def export(name, *words):
        file = folder / name
        answer = CliRunner().invoke(
            main, ["export", "-o", str(file), "--project", str(pool_project.id), *words]
        )
        assert answer.exit_code == 0, answer.output
        said[:] = answer.stderr.splitlines()
        return json.loads(file.read_text(encoding="utf-8"))

    tasks = export("labels.json")
    assert len(tasks) == len(now.labels)
    copy = client.create_project(f"copy of {kind}", CONFIGS[kind])
    client.import_tasks(copy, tasks)
    by_image = {row.image: now.labels[row.id] for row in now.items if row.id in now.labels}
    taken = 0
    for task in client.tasks(copy, with_annotations=True):
        (annotation,) = task["annotations"]
        assert space.label_of(annotation["result"]) == by_image[task["data"]["image"]]
        assert task["data"]["cdsel_split"] in ("train", "held out")
        taken += 1
    assert taken == len(by_image)
    if kind != "regions":
        return
    document = export("coco.json", "--format", "coco")
    names = {one["id"]: one["name"] for one in document["categories"]}
    address = {one["id"]: one["file_name"] for one in document["images"]}
    drawn = {image: set() for image in by_image}
    for one in document["annotations"]:
        drawn[address[one["image_id"]]].add(names[one["category_id"]])
        assert one["bbox"] == [6.4, 6.4, 12.8, 12.8]  # a tenth, and a fifth, of 64 pixels
        assert abs(one["area"] - 12.8**2) < 0.01
    assert drawn == {image: set(label_names(label)) for image, label in by_image.items()}
    # A task that cannot be read any more is named, and the others are written.
    queue = now.project.queue_project
    task = next(client.tasks(queue, with_annotations=True, annotated=True))
    write_half_a_character(client, task)
    assert len(export("labels.json")) == len(tasks) - 1
    (left_out,) = said
    assert left_out.startswith(f"left out: 1 task of project {queue} cannot be read (task {task['id']})")
    client.update_task(task["id"], task["data"])


@pytest.mark.slow
def test_classes_come_and_go_while_labels_exist(client, browser, backend, pool_project, state):
    before = CONFIGS["multiple_choice"]
    after = before.replace('"nodule"', '"mass"')
    space = parse_label_space(before)
    connect(client, browser, backend, pool_project, before)
    queue, first = label_round(
        client, backend, pool_project, space, ROUND, lambda task: shown(pool_project, task)
    )
    old = trained_on(backend, pool_project, 1)
    set_config(browser, pool_project.id, after)
    problems = eventually(
        lambda: backend.status(pool_project.id).get("problems"), "nothing was said", details=backend.tail
    )
    with_it = sum("nodule" in names for names in first.values())
    said = [one for one in problems if "'nodule' is not in the labeling config" in one]
    assert len(said) == with_it or said[0].startswith(f"{with_it} annotations (tasks ")
    assert "mass" in client.project(queue)["label_config"]
    now = state()
    task_of = {row.id: row.task for row in now.items}
    assert {task_of[item]: set(label_names(label)) for item, label in now.labels.items()} == {
        task: names - {"nodule"} for task, names in first.items() if names != {"nodule"}
    }
    # The former champion goes on for what it knows, and the next training asks for the new classes.
    assert backend.status(pool_project.id)["champion"] == old
    renamed = parse_label_space(after)

    def names(task):
        return {"mass" if name == "nodule" else name for name in shown(pool_project, task)}

    _, second = label_round(client, backend, pool_project, renamed, 2 * ROUND, names)
    version = trained_on(backend, pool_project, 2)
    assert load(backend.folder / "models" / str(now.project.id) / version).classes == renamed.classes
    both = before.replace(
        '<Choice value="nodule" hotkey="2"/>', '<Choice value="nodule" hotkey="2"/><Choice value="mass"/>'
    )
    set_config(browser, pool_project.id, both)
    eventually(lambda: not backend.status(pool_project.id)["problems"], "still refused", details=backend.tail)
    now = state()
    assert {
        task_of[item]: set(label_names(label))
        for item, label in now.labels.items()
        if task_of[item] in first | second
    } == first | second
    # Nobody was asked of a mass in the first round, nor of a nodule in the second.
    pool = read_pool(now)
    row = {task_of[int(item)]: place for place, item in enumerate(pool.ids)}
    for given, name in ((first, "mass"), (second, "nodule")):
        column = pool.labels[[row[task] for task in given], pool.classes.index(name)]
        assert (column == -1).all()
    assert (pool.labels[[row[task] for task in first | second], 0] >= 0).all()
    # Another control is refused by Label Studio in a queue with annotations: the former one stays in force.
    set_config(browser, pool_project.id, CONFIGS["regions"].replace('"findings"', '"boxes"'))
    problems = eventually(
        lambda: backend.status(pool_project.id)["problems"], "nothing was said", details=backend.tail
    )
    assert "the former labeling config is still used" in problems[0]
    assert state().labels == now.labels
