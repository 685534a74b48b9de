"""The labelled set as files, of a project in the middle of its life."""

from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner
from filled import QUEUE

from cdsel_backend.cli import main
from cdsel_backend.export.label_files import coco
from cdsel_backend.export.labelled_set import LabelledImage
from cdsel_backend.labels import presence_text
from cdsel_backend.labelstudio.labels import parse_label_space, space_of
from cdsel_backend.labelstudio.marks import read_mark
from cdsel_backend.labelstudio.queue_projects import OUR_LINE, status_line
from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.store.records import Item

REGIONS = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="r" toName="image"><Label value="a"/>'
    '<Label value="b"/></RectangleLabels></View>'
)


@pytest.fixture
def export(filled, monkeypatch, tmp_path):
    made = filled
    monkeypatch.setenv("CDSEL_DATA_DIR", str(made.server.data_dir))
    monkeypatch.delenv("CDSEL_DATABASE_URL", raising=False)

    def run(name, *words, code=0):
        answer = CliRunner().invoke(main, ["export", "-o", str(tmp_path / name), *words])
        assert answer.exit_code == code, answer.output
        return (tmp_path / name).read_text(encoding="utf-8-sig") if not code else answer.output

    return made, run


def test_the_table_has_every_label_and_how_it_came_about(export):
    made, run = export
    state = made.state()
    rows = {int(row["task"]): row for row in csv.DictReader(run("labels.csv").splitlines())}
    items = {row.task: row for row in state.items}
    assert {items[task].id: row["label"] for task, row in rows.items()} == state.labels
    chosen = {row.item: row for row in state.selections}
    for task, row in rows.items():
        item = items[task]
        assert int(row["round"]) == chosen[item.id].round
        assert int(row["rank"]) == chosen[item.id].rank
        assert row["reason"] == chosen[item.id].sentence
        assert row["group"] == item.data["patient_id"]
        assert row["model_version"] == state.project.champion
        assert row["data.site"] == item.data["site"]
        assert (row["chosen_by"] == "") == (chosen[item.id].round == 1)
    seen = state.store.training_labels(state.project.id, state.versions[state.project.champion].number)
    weights = {task: float(row["weight"]) for task, row in rows.items() if row["weight"]}
    trained = {task for task, row in rows.items() if row["split"] == "train" and str(items[task].id) in seen}
    assert set(weights) == trained
    assert any(row["split"] == "held out" for row in rows.values())
    # Both classes weigh the same.
    by_class = {
        name: sum(w for task, w in weights.items() if rows[task]["label"] == name)
        for name in ("benign", "malignant")
    }
    assert by_class["benign"] == pytest.approx(by_class["malignant"], rel=1e-3)


def test_the_json_is_what_label_studio_imports_and_marks_nothing_as_ours(export):
    made, run = export
    state = made.state()
    space = space_of(state)
    tasks = json.loads(run("labels.json"))
    assert len(tasks) == len(state.labels)
    by_image = {}
    for task in tasks:
        (annotation,) = task["annotations"]
        assert space.label_of(annotation["result"])
        by_image[task["data"]["image"]] = annotation
        assert read_mark(task["data"], {row.task: row for row in state.items}, space) is None
    assert by_image
    # In a project of its own what we said is no metadata.
    names = {column.name for column in read_columns([task["data"] for task in tasks])}
    assert not [name for name in names if name.startswith("cdsel_")]


def test_the_pool_says_where_to_label(filled):
    line = status_line(filled.state(), "x", "0" * 16, [])
    assert f"labelled · label in project {QUEUE}, not here · dashboard x" in line
    assert OUR_LINE.match(line)


def test_coco_is_for_regions(export):
    _, run = export
    assert "--format coco is for regions" in run("labels.json", "--format", "coco", code=1)


@pytest.mark.parametrize(
    ("name", "words", "fix"),
    [
        ("labels.xlsx", (), "labels.json, or"),
        ("labels.json", ("--format", "csv"), "labels.csv"),
        ("labels.csv", ("--format", "label-studio"), "labels.json"),
    ],
)
def test_a_name_that_says_another_kind_of_file_is_refused_with_the_right_one(name, words, fix, tmp_path):
    file = tmp_path / name
    answer = CliRunner().invoke(main, ["export", "-o", str(file), *words])
    assert answer.exit_code == 2
    assert f"name it {tmp_path / fix}" in answer.output
    assert not file.exists()


def labelled(result, **item):
    whole = Item(1, 1, 5, {}, "/a.png", "0", None, None, 0, False, **item)
    return LabelledImage(
        whole, presence_text(["a"]), ("a",), "train", None, 1, 1, "why", False, None, 1.0, "v1", result
    )


def part(value, **more):
    return {
        "from_name": "r",
        "to_name": "image",
        "original_width": 200,
        "original_height": 100,
        "value": value,
        **more,
    }


def test_regions_become_pixels():
    space = parse_label_space(REGIONS)
    result = [
        part({"x": 10, "y": 20, "width": 50, "height": 40, "rotation": 0, "rectanglelabels": ["a"]}),
        part({"x": 50, "y": 20, "width": 20, "height": 40, "rotation": 90, "rectanglelabels": ["b"]}),
        part({"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 0, "rectanglelabels": ["a"]}),
        part({"points": [[0, 0], [50, 0], [50, 50]], "rectanglelabels": ["b"]}),
        part({"format": "rle", "rle": [1, 2], "rectanglelabels": ["b"]}),
        part({"x": 3, "y": 4, "width": 1, "rectanglelabels": ["b"]}),
    ]
    text, left_out = coco(
        [labelled(result), labelled([], measures={"image: width x height": "30 x 40"})], space
    )
    document = json.loads(text)
    assert left_out == 2
    assert [one["bbox"] for one in document["annotations"]] == [
        [20, 20, 100, 40],
        [60, 20, 40, 40],  # turned by a quarter about its upper left corner
        [80, 30, 40, 40],
        [0, 0, 100, 50],
    ]
    assert [one["category_id"] for one in document["annotations"]] == [1, 2, 1, 2]
    areas = [one["area"] for one in document["annotations"]]
    assert areas[0] == 4000
    assert areas[2] == pytest.approx(3.1416 * 20 * 20, rel=0.01)
    assert [(one["width"], one["height"]) for one in document["images"]] == [(200, 100), (30, 40)]


def test_regions_of_classes_that_are_not_learned_are_exported_too():
    space = parse_label_space(REGIONS).without(["b"])
    box = {"x": 0, "y": 0, "width": 5, "height": 5}
    names = ("a", "b", "removed since")
    text, left_out = coco([labelled([part({**box, "rectanglelabels": [name]}) for name in names])], space)
    document = json.loads(text)
    named = {one["id"]: one["name"] for one in document["categories"]}
    assert [named[one["category_id"]] for one in document["annotations"]] == list(names)
    assert left_out == 0
