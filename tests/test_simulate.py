"""The backtest: worlds as asked, the same functions as production, honest sums, and a command that explains itself."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cdsel_backend.cli import main
from cdsel_backend.pool.backbones import load_backbone
from cdsel_backend.pool.columns import Column
from cdsel_backend.selection import Problem, select, strategies
from cdsel_backend.simulate import comparisons, measures, report, runner
from cdsel_backend.simulate.command import simulate
from cdsel_backend.simulate.dataset import Dataset, check_columns, load_dataset, two_levels
from cdsel_backend.simulate.option_types import Names
from cdsel_backend.simulate.outcome import GroupResult
from cdsel_backend.simulate.outcome import Result as Line
from cdsel_backend.simulate.plan import (
    BASELINE,
    DEFAULT,
    METRICS,
    MODEL_FREE,
    OPTIONS,
    ORACLE,
    STRENGTHS,
    TRAININGS,
    Plan,
    check_budgets,
)
from cdsel_backend.simulate.ranking import RATES, rank
from cdsel_backend.simulate.run import Run, make_scene
from cdsel_backend.simulate.saving import labels_saved
from cdsel_backend.simulate.section import spent
from cdsel_backend.simulate.summary import WORST, Findings, estimate
from cdsel_backend.simulate.vectors import embed_folder, read_embeddings, with_pictures
from cdsel_backend.simulate.worlds import make_world
from cdsel_backend.sources.image_cells import image_file
from cdsel_backend.table import UsageError, read_table
from cdsel_backend.training import TrainingLabels, TrainingOptions, tail, train_model

HAM = Path(__file__).parents[2] / "shared" / "data" / "ham10000_site"


def history(n: int = 700, seed: int = 0) -> tuple[list[dict[str, str]], np.ndarray]:
    """Rows and vectors of a confounded history: site shows in the vectors and goes with the label."""
    rng = np.random.default_rng(seed)
    site = rng.choice(3, size=n, p=[0.5, 0.4, 0.1])
    label = (rng.random(n) < np.array([0.7, 0.3, 0.5])[site]).astype(int)
    vectors = rng.normal(size=(n, 24))
    vectors[:, 0] += 1.5 * label
    vectors[:, 1] += 3.0 * site
    rows = [
        {
            "file": f"{i}.png",
            "diagnosis": ("benign", "malignant")[label[i]],
            "site": ("east", "west", "north")[site[i]],
            "sex": ("f", "m")[int(rng.integers(2))],
            "patient": f"p{i // 2}",
        }
        for i in range(n)
    ]
    return rows, vectors.astype(np.float32)


def of_table(rows: list[dict[str, str]], vectors: np.ndarray, **changed: object) -> Dataset:
    given = {
        "label": "diagnosis",
        "group": "patient",
        "confounders": ["site"],
        "image_column": "file",
    } | changed
    return load_dataset(rows, vectors, name="made", **given)  # type: ignore[arg-type]


def dataset(**changed: object) -> Dataset:
    return of_table(*history(), **changed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows, vectors = history()
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    np.save(tmp_path / "vectors.npy", vectors)
    return tmp_path


def call(folder: Path, *more: str) -> Result:
    fixed = [
        "--metadata",
        f"{folder}/metadata.csv",
        "--embeddings",
        f"{folder}/vectors.npy",
        "--out",
        f"{folder}/out",
    ]
    given = {"--label": "diagnosis", "--confounder": "site", "--group": "patient", "--jobs": "1"}
    named = [part for key, value in given.items() if key not in more for part in (key, value)]
    return CliRunner().invoke(main, ["simulate", *fixed, *named, *more])


# Worlds


def test_a_group_is_on_one_side_and_forty_percent_of_the_groups_are_tested():
    data = dataset()
    world = make_world(data, "natural", 3, 1)
    assert not set(data.groups[world.pool]) & set(data.groups[world.test])
    share = len(np.unique(data.groups[world.test])) / len(np.unique(data.groups))
    assert share == pytest.approx(0.4, abs=0.01)
    assert len(world.pool) + len(world.test) == len(data)


@pytest.mark.parametrize("rho", ["0.5", "0.8", "0.95"])
def test_a_resampled_pool_has_the_dependence_asked_for(rho: str):
    data = two_levels(dataset(), ["east", "west"])
    pool = data.take(make_world(data, rho, 1, 1).pool)
    first = pool.columns[0].codes == 0
    assert pool.labels[first].mean() == pytest.approx(float(rho), abs=0.01)
    assert pool.labels[~first].mean() == pytest.approx(1 - float(rho), abs=0.01)
    assert abs(int(first.sum()) - int((~first).sum())) <= 2
    assert len(np.unique(pool.vectors, axis=0)) == len(pool), "an item was drawn twice"


def test_pools_are_bounded_and_repeat_by_seed():
    rows, vectors = history(9000)
    data = of_table(rows, vectors)
    assert len(make_world(data, "natural", 0, 1).pool) == 3000
    two = two_levels(data, ["east", "west"])
    assert len(make_world(two, "0.5", 0, 1).pool) == 1500
    again = [make_world(two, "0.8", seed, 1).pool for seed in (4, 4, 5)]
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], again[2])


def test_the_two_largest_levels_are_the_default_and_the_first_named_comes_first():
    data = dataset()
    assert two_levels(data).columns[0].levels == ("east", "west")
    assert two_levels(data, ["north", "east"]).columns[0].levels == ("north", "east")
    swapped = two_levels(data, ["west", "east"])
    assert set(swapped.columns[0].names) == {"east", "west"}
    assert (swapped.labels[swapped.columns[0].codes == 1].mean()) > 0.5, "east has most of the malignant"


def test_a_level_without_one_of_the_labels_is_named():
    rows, vectors = history()
    rows = [row | {"diagnosis": "benign"} if row["site"] == "west" else row for row in rows]
    data = of_table(rows, vectors)
    with pytest.raises(UsageError, match="no positive item at level 'west'"):
        make_world(two_levels(data), "0.5", 0, 1)


# The table


def test_rows_without_a_label_or_a_vector_are_left_out_and_said():
    rows, vectors = history()
    rows[0] = rows[0] | {"diagnosis": " "}
    vectors[1] = np.nan
    data = of_table(rows, vectors)
    assert len(data) == len(rows) - 2
    assert [note.split(" ", 1)[0] for note in data.notes] == ["1", "1"]


def test_auto_finds_the_confounder_that_was_built_in():
    assert [column.name for column in dataset(confounders=["auto"]).columns] == ["site"]


def test_rows_without_a_group_stand_alone():
    rows, vectors = history()
    rows = [row | {"patient": ""} for row in rows]
    data = of_table(rows, vectors)
    assert len(np.unique(data.groups)) == len(rows)


def test_a_patient_is_one_however_the_id_is_written():
    rows, vectors = history()
    written = ("7", "7.0", " 7 ", "7\u200b")
    rows = [row | {"patient": cell} for row, cell in zip(rows, written, strict=False)] + rows[len(written) :]
    data = of_table(rows, vectors)
    assert len(np.unique(data.groups[: len(written)])) == 1


def test_a_column_named_twice_is_refused(tmp_path: Path):
    (tmp_path / "t.csv").write_text("file,site,site\na.png,x,y\n")
    with pytest.raises(UsageError, match="header names 'site' more than once: rename"):
        read_table(tmp_path / "t.csv")


def test_a_table_may_use_semicolons(tmp_path: Path):
    (tmp_path / "t.csv").write_text("﻿a;b\n1;x, y\n", encoding="utf-8")
    assert read_table(tmp_path / "t.csv") == [{"a": "1", "b": "x, y"}]


@pytest.mark.parametrize(
    "content",
    [
        "file,site\r\na.png,Zürich\r\n".encode("utf-16"),
        "sep=;\nfile;site\na.png;Zürich\n".encode("utf-8-sig"),
    ],
)
def test_a_table_is_read_as_spreadsheets_save_it(tmp_path: Path, content: bytes):
    (tmp_path / "t.csv").write_bytes(content)
    assert read_table(tmp_path / "t.csv") == [{"file": "a.png", "site": "Zürich"}]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ('"Bild\nDatei";"Größe, cm";Site\u00a0A', "1.png;7,5;x"),
        ('Befunde 2024\n\n"Bild\r\nDatei","Größe,\ncm",Site A', '1.png,"7,5",x'),
        ("Bild Datei;Gro\u0308\u00dfe, cm;Site A", "1.png;7,5;x"),
        ("Bild Datei;Größe, cm;Site A", '"1.png";"7,5";x'),
    ],
    ids=["line break", "title above", "composed of two", "as many commas"],
)
def test_a_header_is_what_it_looks_like(tmp_path: Path, header: str, row: str):
    (tmp_path / "t.csv").write_text(f"{header}\n{row}\n{row}\n", encoding="utf-8")
    assert read_table(tmp_path / "t.csv") == [{"Bild Datei": "1.png", "Größe, cm": "7,5", "Site A": "x"}] * 2


def test_a_column_whose_name_holds_a_comma_is_named_in_quotation_marks():
    named = Names().convert('"Größe, cm", site', None, None)
    assert named == ("Größe, cm", "site")
    with pytest.raises(UsageError, match="""quotation marks of its own: --confounder '"Größe, cm"'"""):
        check_columns([{"Größe, cm": "7,5", "site": "a"}], "site", ["Größe", "cm"], None, ())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no rows below its header"),
        (b'[{"id": 1, "data": {"image": "a.png"}}]', "choose CSV where Label Studio exports annotations"),
        ("file,site\na.png,Zürich\n".encode("cp1252"), 'save it as "CSV UTF-8"'),
    ],
)
def test_what_is_no_table_is_named_with_the_fix(tmp_path: Path, content: bytes, said: str):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_table(tmp_path / "t.csv")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "cell",
    [
        "upload/3/a b.png",
        "upload\\3\\a b.png",
        "/data/upload/3/a%20b.png",
        "https://host/labelstudio/data/upload/3/a%20b.png",
        "/data/local-files/?d=upload/3/a%20b.png",
        "/data/local-files/?d=%2Fupload/3/a%20b.png",
    ],
)
def test_a_file_is_found_by_the_address_that_label_studio_exports(tmp_path: Path, cell: str):
    file = tmp_path / "upload" / "3" / "a b.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert image_file(tmp_path, cell) == file


def test_a_file_is_found_without_its_ending_and_in_other_letters(tmp_path: Path):
    (tmp_path / "1.JPG").write_bytes(b"")
    for cell in ("1", "1.jpg", f"file://{tmp_path}/1.JPG", " 1.JPG ", str(tmp_path / "1")):
        assert image_file(tmp_path, cell) == tmp_path / "1.JPG", cell


def labelled(*cells: str) -> Dataset:
    """`history` with the first labels written so."""
    rows, vectors = history()
    rows = [row | {"diagnosis": cell} for row, cell in zip(rows, cells, strict=False)] + rows[len(cells) :]
    return of_table(rows, vectors)


def test_a_class_is_one_however_it_is_written_and_what_names_none_is_left_out():
    data = labelled("benign ", "be\u200bnign", "n/a", "NaN", *["none"] * 6, "7.0", *["7"] * 5)
    assert data.classes == ("7", "benign", "malignant", "none")
    assert data.notes == ("2 rows have no diagnosis and were left out.",)


def test_a_picture_of_several_rows_is_one_and_what_cannot_be_tested_is_said():
    rows, vectors = history()
    wide = np.hstack([vectors, np.zeros((len(vectors), 16), dtype=np.float32)])
    wide[[7, 9]] = wide[4]
    alone = of_table(rows, wide)
    assert len(alone) == len(rows) - 2
    other = sum(rows[i]["diagnosis"] != rows[4]["diagnosis"] for i in (7, 9))
    assert alone.notes[0] == "2 rows show the picture of a row before it and were left out."
    assert len(alone.notes) == 1 + bool(other)
    with pytest.raises(UsageError, match="holds one patient or lesion for all images"):
        of_table([row | {"patient": "p"} for row in rows], vectors, group="patient")
    with pytest.raises(UsageError, match="has a usable image or vector"):
        of_table(rows, np.full_like(vectors, np.nan))
    with pytest.raises(UsageError, match="holds no label; at least two"):
        of_table([row | {"diagnosis": ""} for row in rows], vectors)


def test_odd_values_among_numbers_are_said():
    rows, vectors = history()
    rows = [row | {"dose": "see note" if i == 3 else str(i % 40)} for i, row in enumerate(rows)]
    assert of_table(rows, vectors).notes == (
        "dose: 1 value is no number, such as 'see note', and counts as missing.",
    )


def test_a_class_of_few_images_is_said():
    assert labelled("rare", "rare").notes == ("Too few images to learn or measure: rare (2).",)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["Benign"], "holds 'Benign' and 'benign': write one class alike"),
        (['{"choices": ["benign", "malignant"]}'], "holds several labels in a cell"),
        ([str(i) for i in range(1000)], "different values in"),
    ],
)
def test_what_is_no_class_is_refused_before_images_are_read(cells: list[str], said: str):
    with pytest.raises(UsageError) as refused:
        labelled(*cells[: len(history()[0])])
    assert said in str(refused.value)


def test_images_are_embedded_once_and_a_bad_one_costs_itself_only(tmp_path: Path):
    rng = np.random.default_rng(0)
    rows = [{"file": f"{i}.png"} for i in range(4)]
    for row in rows[:2]:
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / row["file"])
    (tmp_path / "2.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "3.png").write_bytes(b"")
    steps: list[int] = []

    def embed() -> tuple[np.ndarray, list[str]]:
        return embed_folder(
            rows, tmp_path, "file", cache=tmp_path / "cache", backbone="tf_efficientnet_lite0",
            progress=lambda _, done, total: steps.append(done),
        )  # fmt: skip

    vectors, problems = embed()
    assert vectors.shape == (4, load_backbone("tf_efficientnet_lite0").dim)
    assert np.array_equal(vectors[0], vectors[2])
    assert not np.allclose(vectors[0], vectors[1])
    assert np.isnan(vectors[3]).all()
    assert [problem.split(":")[0] for problem in problems] == ["3.png"]
    assert steps == [1, 2, 3, 4]
    kept = next((tmp_path / "cache").iterdir())
    before = kept.stat().st_mtime_ns
    again, _ = embed()
    assert np.array_equal(again, vectors, equal_nan=True)
    assert kept.stat().st_mtime_ns == before, "nothing new, so nothing was written"


# The runs


def plan(**changed: object) -> Plan:
    given = {
        "strategies": ("random", "confounder_aware"), "trainings": ("plain", "deconfounded"),
        "correlations": ("natural",), "budgets": (40,), "rounds": 4, "seeds": 1, "positive": 1,
    }  # fmt: skip
    return Plan(**(given | changed))  # type: ignore[arg-type]


def test_a_unit_spends_the_budget_in_rounds_and_measures_everything():
    data = dataset()
    outcome = runner.run_unit(data, "natural", 0, "confounder_aware", plan())
    for training in ("plain", "deconfounded"):
        assert outcome.tables["confounder_aware", training, "natural", 40].sum() == 40
        found = {r.metric: r.value for r in outcome.results if r.training == training}
        assert set(found) == set(METRICS)
        assert all(0 <= found[name] <= 1 for name in METRICS[:5])
    curve = {r.training for r in outcome.results} - {"plain", "deconfounded"}
    assert curve == {f"strength={s:g}" for s in STRENGTHS}


def test_a_unit_repeats_itself_but_for_the_seconds():
    data = dataset()
    first, second = (
        runner.run_unit(data, "natural", 2, "confounder_aware", plan()).results for _ in range(2)
    )
    drop = [r for r in first if r.metric != "seconds"]
    assert drop == [r for r in second if r.metric != "seconds"]


def test_datasets_that_differ_in_one_part_are_never_taken_for_one_another():
    """A process keeps the world it had last: another confounder, label or vector of the same table is another world."""
    data = dataset()
    other = replace(data, columns=dataset(confounders=["sex"]).columns)
    flipped = replace(data, labels=1 - data.labels)
    moved = replace(data, vectors=data.vectors + 1)
    scenes = [make_scene(one, "natural", 0, 1) for one in (data, other, flipped, moved)]
    assert len({id(scene) for scene in scenes}) == 4
    assert scenes[1].pool.columns[0].name == "sex"
    again = make_scene(moved, "natural", 0, 1)
    assert again is scenes[3]


def test_strength_zero_of_the_curve_knows_no_confounder():
    """The curve starts where the method ends: at the same head on the same labels without the confounder."""
    data = dataset()
    scene = make_scene(data, "natural", 0, 1)
    run = Run(scene, "random", "deconfounded", 60, plan(rounds=3))
    run.select([])
    unaware = train_model(
        replace(scene.round_pool, columns=()),
        TrainingLabels(run.labels, data.classes, groups=scene.pool.groups),
        TrainingOptions(seed=scene.seed),
    )
    np.testing.assert_allclose(run.probabilities(run.train(0.0)), run.probabilities(unaware), atol=1e-6)


def test_a_fine_tune_reads_the_images_and_auto_keeps_the_better(tmp_path: Path, monkeypatch):
    """Made images, whose disease shows as stripes; few steps of a small network, so that it learns in seconds."""
    monkeypatch.setattr(tail, "_FEWEST_STEPS", 2)
    monkeypatch.setattr(tail, "_MOST_STEPS", 2)
    monkeypatch.setattr(runner, "ENOUGH_LABELS", 30)
    rows, vectors = history(72)
    rng = np.random.default_rng(0)
    for row in rows:
        pixels = rng.integers(90, 130, (64, 64, 3))
        pixels[::4] += 60 * (row["diagnosis"] == "malignant")
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / row["file"])
    (tmp_path / "7.png").write_bytes(b"no image")
    sets = {"natural": of_table(rows, vectors)}
    found, problems = with_pictures(
        sets, rows, tmp_path, "file", backbone="test_efficientnet=random", features="depths", view="close",
        file=tmp_path / "a.npy", progress=lambda *_: None,
    )  # fmt: skip
    assert [problem.split(":")[0] for problem in problems] == ["7.png"]
    data = found["natural"]
    assert len(data) == 71
    assert data.take(np.arange(10, 20)).rows.tolist() == data.rows[10:20].tolist()
    asked = plan(trainings=("deconfounded", "backbone", "auto"), budgets=(20, 30), rounds=1)
    results = runner.run_unit(data, "natural", 0, "random", asked).results
    marks = {(r.training, r.budget): r.value for r in results if r.metric == "within_group_auc"}
    assert set(marks) == {(t, b) for t in asked.trainings for b in asked.budgets}
    assert marks["auto", 20] == marks["deconfounded", 20], "too few labels for auto"
    assert marks["auto", 30] in (marks["deconfounded", 30], marks["backbone", 30])
    assert marks["backbone", 30] != marks["deconfounded", 30]


def test_the_report_compares_the_fine_tune_with_the_head():
    findings = lines(
        {DEFAULT: [0.5, 0.6, 0.6], (DEFAULT[0], "backbone"): [0.4, 0.6, 0.7], BASELINE: [0.4] * 3},
        spread=0.05,
    )
    section = comparisons.fine_tune(findings)
    assert section is not None
    assert section.title.startswith(
        "Worst group, backbone against the head: -0.100 (-0.100 to -0.100) with 100 labels,"
    )
    assert section.title.endswith("+0.100 (+0.100 to +0.100) with 400 labels")


def test_options_of_the_selection_are_kept():
    data = dataset()
    asked = plan(options=replace(OPTIONS, group_cap=1), budgets=(60,), rounds=2)
    run = Run(make_scene(data, "natural", 0, 1), "margin", "plain", 60, asked)
    run.select(None)
    groups = run.scene.pool.groups[run.taken]
    assert len(groups) == len(np.unique(groups)) == 60


def test_the_oracle_fills_the_cells_equally_as_far_as_they_last():
    data = two_levels(dataset(), ["east", "west"])
    outcome = runner.run_unit(data, "0.8", 0, ORACLE, plan(correlations=("0.8",), budgets=(40,)))
    assert outcome.tables[ORACLE, "plain", "0.8", 40].tolist() == [[10, 10], [10, 10]]


def test_with_one_class_only_there_is_still_a_number():
    rows, vectors = history()
    rare = {"diagnosis": "benign"}
    rows = [row | (rare if i % 50 else {"diagnosis": "malignant"}) for i, row in enumerate(rows)]
    data = of_table(rows, vectors)
    outcome = runner.run_unit(data, "natural", 0, "random", plan(budgets=(2,), trainings=("plain",)))
    found = {r.metric: r.value for r in outcome.results}
    assert found["accuracy"] > 0.9


@pytest.mark.parametrize("strategy", [name for name in strategies() if name in MODEL_FREE])
def test_a_strategy_called_model_free_selects_the_same_with_and_without_a_model(strategy: str):
    scene = make_scene(two_levels(dataset(), ["east", "west"]), "0.5", 0, 1)
    rng = np.random.default_rng(0)
    taken = np.zeros(len(scene.pool), dtype=bool)
    taken[rng.permutation(len(taken))[:30]] = True
    chosen = [
        select(
            strategy,
            Problem(
                vectors=scene.round_pool.projected,
                columns=scene.pool.columns,
                labels=labels,
                n_classes=2,
                taken=taken,
                probabilities=probabilities,
                seed=5,
            ),
            12,
        ).indices.tolist()
        for labels, probabilities in (
            (np.where(taken, scene.pool.labels, -1), None),
            (np.where(taken, 1 - scene.pool.labels, -1), rng.dirichlet([1, 1], len(taken))),
        )
    ]
    assert chosen[0] == chosen[1]


# What the results say


def lines(curves: dict[tuple[str, str], list[float]], seeds: int = 12, spread: float = 0.0) -> Findings:
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=spread, size=seeds)
    made = [
        Line("made", *pipeline, "0.8", budget, seed, WORST, value + noise[seed] * (pipeline != BASELINE))
        for pipeline, values in curves.items()
        for budget, value in zip((100, 200, 400), values, strict=True)
        for seed in range(seeds)
    ]
    return Findings(made, ["0.8"], [100, 200, 400], seeds)


def test_the_interval_is_students():
    values = np.array([1.0, 2.0, 3.0, np.nan])
    made = estimate(values)
    assert (made.mean, made.n) == (2.0, 3)
    assert made.high - made.mean == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    wide = estimate(np.array([0.1, 0.9]))
    assert wide.text("") == "0.500 (0.000 to 1.000)"  # an accuracy; a difference goes on
    assert wide.text() == "+0.500 (-4.582 to +5.582)"


def test_labels_saved_are_read_off_between_the_budgets():
    saving = labels_saved(lines({DEFAULT: [0.3, 0.5, 0.6], BASELINE: [0.2, 0.3, 0.4]}))
    assert saving is not None
    assert saving.saved == pytest.approx(400 - 150)
    assert not saving.at_least
    assert "saves 250 of the 400 labels (95 % interval 250 to 250)" in saving.sentence


def test_more_than_was_tried_is_said_to_be_a_lower_bound():
    saving = labels_saved(lines({DEFAULT: [0.5, 0.5, 0.6], BASELINE: [0.2, 0.3, 0.4]}))
    assert saving is not None
    assert saving.at_least
    assert "at least 300 of the 400" in saving.sentence


def test_a_seed_without_a_worst_group_counts_for_neither():
    curves = {DEFAULT: [0.3, 0.5, 0.6], BASELINE: [0.2, 0.3, 0.4]}
    whole, partial = lines(curves), lines(curves)
    partial.cube(BASELINE, WORST)[0, 1, 2] = np.nan
    a, b = labels_saved(whole), labels_saved(partial)
    assert a is not None
    assert b is not None
    assert b.saved == pytest.approx(a.saved)
    assert labels_saved(lines(curves, seeds=1)) is None


def test_a_budget_must_fit_the_smallest_pool_of_all_seeds():
    data = two_levels(dataset(), ("east", "west"))
    sizes = [len(make_world(data, "0.8", seed, 1).pool) for seed in range(12)]
    assert min(sizes) < sizes[0], "seed 0 alone would have told"
    asked = Plan(("random",), ("plain",), ("0.8",), (sizes[0],), 2, 12, 1)
    assert f"has {min(sizes)} items" in check_budgets({"0.8": data}, asked)[0]
    assert not check_budgets({"0.8": data}, replace(asked, budgets=(min(sizes),)))


def test_a_patient_called_unknown_is_none():
    rows, vectors = history(60)
    rows = [row | {"patient": "N/A" if i < 30 else f"p{i // 2}"} for i, row in enumerate(rows)]
    data = of_table(rows, vectors)
    assert len(np.unique(data.groups)) == 30 + 15


def test_one_budget_cannot_tell_what_is_saved():
    made = [
        Line("made", *pipeline, "0.8", 100, seed, WORST, value)
        for pipeline, value in ((DEFAULT, 0.6), (BASELINE, 0.4))
        for seed in range(3)
    ]
    findings = Findings(made, ["0.8"], [100], 3)
    assert labels_saved(findings) is None
    assert spent(findings) == "with 100 labels"
    assert spent(lines({DEFAULT: [0.3, 0.5, 0.6]})) == "mean over the budgets"


def test_no_saving_is_claimed_from_few_seeds_or_against_a_baseline_that_labels_do_not_help():
    few = labels_saved(lines({DEFAULT: [0.5, 0.6, 0.7], BASELINE: [0.2, 0.3, 0.4]}, seeds=9))
    assert few is not None
    assert few.saved is few.low is few.high is None
    assert (
        few.sentence
        == "No saving of labels is claimed, at 0.8: that takes 10 seeds, and 9 measured the worst group."
    )
    for baseline in ([0.379, 0.36, 0.355], [0.3, 0.5, 0.3], [0.3, 0.3, 0.3]):
        saving = labels_saved(lines({DEFAULT: [0.5, 0.55, 0.6], BASELINE: baseline}))
        assert saving is not None
        assert saving.saved is None
        assert "random + plain is not shown to rise with labels" in saving.sentence
    noisy = lines({DEFAULT: [0.5, 0.55, 0.6], BASELINE: [0.30, 0.31, 0.32]})
    noisy.cube(BASELINE, WORST)[0, 2] += np.random.default_rng(0).normal(scale=0.1, size=12)
    saving = labels_saved(noisy)
    assert saving is not None
    assert saving.saved is None, "the rise may be chance"


def test_both_curves_are_made_to_rise_alike():
    """A dip of ours costs as much as a dip of theirs: swapping the pipelines' curves swaps who reaches whom."""
    dip, rise = [0.4, 0.3, 0.5], [0.3, 0.35, 0.4]
    ours = labels_saved(lines({DEFAULT: dip, BASELINE: rise}))
    assert ours is not None
    assert ours.saved == pytest.approx(400 - (200 + 200 * (0.4 - 0.35) / (0.5 - 0.35)))
    theirs = labels_saved(lines({DEFAULT: rise, BASELINE: [0.2, 0.5, 0.4]}))
    assert theirs is not None
    assert theirs.target == pytest.approx(0.45), "not .5, which the dip belies, nor .4"


@pytest.mark.parametrize("curve", [[0.1, 0.2, 0.3], [0.2, 0.3, 0.39]])
def test_nothing_saved_is_said(curve: list[float]):
    saving = labels_saved(lines({DEFAULT: curve, BASELINE: [0.2, 0.3, 0.4]}))
    assert saving is not None
    assert saving.saved == 0
    assert "saves no labels" in saving.sentence


def test_a_saving_that_the_seeds_do_not_agree_on_is_none():
    saving = labels_saved(lines({DEFAULT: [0.2, 0.3, 0.41], BASELINE: [0.2, 0.3, 0.4]}, spread=0.1))
    assert saving is not None
    assert saving.low == 0
    assert "saves no labels that these runs could show" in saving.sentence


def test_the_bound_is_never_the_best_and_differences_are_paired():
    findings = lines(
        {
            DEFAULT: [0.5] * 3,
            BASELINE: [0.4] * 3,
            (ORACLE, "plain"): [0.9] * 3,
            ("margin", "plain"): [0.45] * 3,
        },
        spread=0.1,
    )
    assert findings.ranked()[0] == DEFAULT
    assert findings.best_other("plain") == ("margin", "plain")
    gap = findings.difference(DEFAULT, ("margin", "plain"), WORST)
    assert (gap.mean, gap.high - gap.low) == (pytest.approx(0.05), pytest.approx(0, abs=1e-9))


# What the report claims


def titles(findings: Findings) -> str:
    """Every title of the sections that compare, and the headline."""
    made = [report.headline(findings)]
    for section in (comparisons.curves, comparisons.paired, comparisons.same_training, comparisons.trade_off):
        found = section(findings)
        made += [found.title] if found is not None else []
    return "\n".join([*made, measures.numbers(findings).title])


def test_a_title_claims_what_the_interval_excludes():
    clear = lines(
        {DEFAULT: [0.5, 0.55, 0.6], BASELINE: [0.3, 0.35, 0.4], ("margin", "plain"): [0.4, 0.45, 0.5]},
        spread=0.01,
    )
    said = titles(clear)
    assert "confounder_aware + deconfounded is 0.10" in said
    assert "above the best other strategy with a plain head, margin + plain" in said
    assert "is above every other pipeline in the worst group (correlation 0.8)" in said
    assert "12 of 12 seeds above random + plain" in said
    assert "margin +0.10" in said
    assert "shown above 2 of 2 others" in said


def test_a_title_claims_nothing_where_the_interval_holds_zero():
    findings = lines({DEFAULT: [0.5] * 3, BASELINE: [0.5] * 3, ("margin", "plain"): [0.5] * 3})
    rng = np.random.default_rng(0)
    for pipeline in (DEFAULT, ("margin", "plain")):
        noise = rng.normal(scale=0.05, size=(1, 3, 12))
        findings.cube(pipeline, WORST)[:] += noise - noise.mean()
    said = titles(findings)
    assert "no difference was shown between confounder_aware + deconfounded and" in said
    assert "not told apart in 2" in said
    assert "no strategy was shown to be above random" in said
    assert "shown above 0 of 2 others" in said
    assert "best under" not in said
    assert "every correlation" not in said, "one was tried"


def test_no_strategy_below_random_is_called_its_better():
    findings = lines({DEFAULT: [0.5] * 3, BASELINE: [0.5] * 3, ("margin", "plain"): [0.3] * 3}, spread=0.01)
    section = comparisons.same_training(findings)
    assert section is not None
    assert "margin" not in section.title


def test_one_seed_claims_nothing():
    said = titles(lines({DEFAULT: [0.5] * 3, BASELINE: [0.3] * 3, ("margin", "plain"): [0.4] * 3}, seeds=1))
    assert "no difference was shown" in said
    assert "one seed, no interval" in said


def test_groups_are_shown_with_n_and_those_left_out_are_named():
    findings = lines({DEFAULT: [0.5] * 3, BASELINE: [0.3] * 3})
    made = [
        GroupResult("made", *pipeline, "0.8", 400, seed, group, n + seed, accuracy, n + seed >= 15)
        for pipeline in (DEFAULT, BASELINE)
        for seed in range(12)
        for group, n, accuracy in (
            ("malignant, site b", 5, 0.2),
            ("malignant, site a", 40, 0.6),
            ("benign, site a", 99, 0.7),
        )
    ]
    section = measures.groups(findings, made, "lesion")
    assert section is not None
    assert "lesion malignant, site b 0.200" in section.title
    assert "malignant, site b (n 5–16)" in section.panels[0]
    assert (
        "fewer than 15 test images: lesion malignant, site b in 10 of 12 seeds (correlation 0.8)."
        in section.caption
    )
    few = measures.groups(findings, [one for one in made if one.n > 20 or one.seed < 10], "lesion")
    assert few is not None
    assert "lesion malignant, site a 0.600" in few.title, (
        "a group that is left out in every seed is no lowest one"
    )
    whole = measures.groups(findings, [one for one in made if one.n > 20], "lesion")
    assert whole is not None
    assert "No group is left out" in whole.caption


def test_a_ranking_is_inside_the_levels_and_its_bins_weigh_groups_alike():
    rng = np.random.default_rng(0)
    n = 4000
    site = rng.integers(0, 2, n)
    label = (rng.random(n) < np.where(site == 0, 0.9, 0.1)).astype(np.int64)
    columns = [Column("site", "categorical", ("a", "b"), site.astype(np.int64))]
    knows_site = np.where(site == 0, 0.8, 0.2) + rng.uniform(-0.1, 0.1, n)
    found = rank(np.stack([1 - knows_site, knows_site], axis=1), label, columns, 1)
    assert found.roc == pytest.approx(RATES, abs=0.06), "to know the site is worth nothing"
    assert found.bins[:, 0].sum() == pytest.approx(4), "each of four groups weighs one"
    sure = np.where(label == 1, 0.95, 0.05)
    found = rank(np.stack([1 - sure, sure], axis=1), label, columns, 1)
    assert (found.roc[1:] == 1).all()
    assert found.bins[[0, -1], 0] == pytest.approx([2, 2])
    assert found.bins[[0, -1], 2] == pytest.approx([0, 2])


# The command


def test_the_command_writes_what_it_promises(folder: Path):
    done = call(
        folder, "--correlation", ".8", "--levels", "east,west", "--budget", "20,40", "--rounds", "2", "--seeds", "2",
        "--strategy", "random,confounder_aware,oracle",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with (folder / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "dataset",
        "strategy",
        "training",
        "correlation",
        "budget",
        "seed",
        "metric",
        "value",
    ]
    seen = {
        (r["strategy"], r["training"], r["correlation"], r["budget"], r["seed"])
        for r in rows
        if r["metric"] == WORST
    }
    assert len(seen) == 3 * 3 * 2 * 2 + len(STRENGTHS) * 2 * 2
    assert {r["metric"] for r in rows} == set(METRICS)
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["settings"]["seeds"] == 2
    assert summary["settings"]["confounder"] == ["site"]
    assert summary["settings"]["backbone"] is None, "the vectors were given"
    mean = np.mean(
        [float(r["value"]) for r in rows if (r["strategy"], r["training"], r["metric"]) == (*BASELINE, WORST)]
    )
    told = next(
        r for r in summary["means_over_budgets"]
        if (r["strategy"], r["training"], r["correlation"], r["metric"]) == (*BASELINE, "all", WORST)
    )  # fmt: skip
    assert told["mean"] == pytest.approx(mean)
    assert done.output.strip().splitlines()[-1] == summary["saving"]["sentence"]
    html = (folder / "out" / "report.html").read_text()
    assert summary["saving"]["sentence"] in html
    assert "oracle" in html
    assert "--embeddings" in html
    assert not {"--backbone", "--features", "--view"} & set(re.findall(r"--[a-z]+", html))
    assert summary["run"]["version"].startswith("cdsel-backend ")
    for fact in summary["run"].values():
        assert fact in html
    with (folder / "out" / "groups.csv").open(newline="") as file:
        groups = list(csv.DictReader(file))
    told = [float(g["accuracy"]) for g in groups if g["judged"] == "True" and g["seed"] == "0" and g["budget"] == "40"
            and (g["strategy"], g["training"], g["correlation"]) == (*BASELINE, "0.8")]  # fmt: skip
    worst = next(float(r["value"]) for r in rows if r["metric"] == WORST and r["seed"] == "0" and r["budget"] == "40"
                 and (r["strategy"], r["training"], r["correlation"]) == (*BASELINE, "0.8"))  # fmt: skip
    assert min(told) == pytest.approx(worst)
    assert "No saving of labels is claimed" in summary["saving"]["sentence"], "two seeds are too few"
    assert not re.search(r"(src|href)=|url\(|@import|<script", html), "the report loads something"
    assert len(html) < 300_000
    assert html.count("<svg") >= 8


def test_a_run_that_was_stopped_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch):
    options = {
        "budget": "20",
        "rounds": "2",
        "seeds": "1",
        "correlation": ".5,.8",
        "levels": "east,west",
        "strategy": "random,stratified",
        "training": "plain",
    }
    asked = [part for name, value in options.items() for part in (f"--{name}", value)]
    whole = call(folder, *asked)
    results = (folder / "out" / "results.csv").read_text().splitlines()
    assert {row["correlation"] for row in csv.DictReader(results)} >= {"0.5", "0.8"}
    shutil.rmtree(folder / "out")
    ran: list[tuple[str, int, str]] = []
    run_unit = runner.run_unit

    def stopped(data, correlation, seed, strategy, plan):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append((correlation, seed, strategy))
        return run_unit(data, correlation, seed, strategy, plan)

    monkeypatch.setattr(runner, "run_unit", stopped)
    done = call(folder, *asked)
    assert done.exit_code == 130
    assert "Stopped. What is done is kept: the same command goes on from there." in done.output
    assert not (folder / "out" / "results.csv").exists()
    ran.clear()

    def counted(data, correlation, seed, strategy, plan):
        ran.append((correlation, seed, strategy))
        return run_unit(data, correlation, seed, strategy, plan)

    monkeypatch.setattr(runner, "run_unit", counted)
    done = call(folder, *asked)
    assert done.exit_code == 0, done.output
    assert len(ran) == 2, "two of four were kept"
    again = (folder / "out" / "results.csv").read_text().splitlines()
    assert [line for line in again if ",seconds," not in line] == [
        line for line in results if ",seconds," not in line
    ]
    assert done.output.splitlines()[-1] == whole.output.splitlines()[-1]
    assert [one.name for one in (folder / "out").iterdir() if one.is_dir()] == []
    ran.clear()
    call(folder, *asked)
    assert len(ran) == 4, "what is whole is not kept"


@pytest.mark.slow
def test_the_same_command_gives_the_same_results_in_two_processes(folder: Path):
    asked = [
        "--budget",
        "20",
        "--rounds",
        "2",
        "--seeds",
        "2",
        "--strategy",
        "random,stratified",
        "--training",
        "plain",
    ]

    def results(jobs: str) -> list[str]:
        assert call(folder, *asked, "--jobs", jobs).exit_code == 0
        text = (folder / "out" / "results.csv").read_text().splitlines()
        return [line for line in text if ",seconds," not in line]

    assert results("1") == results("2")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--label", "dx"], "--label: the table has no column 'dx'; it has file, diagnosis"),
        (["--confounder", "scanner"], "--confounder: the table has no column 'scanner'"),
        (["--confounder", "diagnosis"], "is the --label itself"),
        (["--confounder", "file"], "--confounder: column 'file' names the images; choose from"),
        (["--group", "diagnosis"], "--group: 'diagnosis' is the --label itself"),
        (["--group", "lesion"], "--group: the table has no column 'lesion'"),
        (["--ignore", "lesion"], "--ignore: the table has no column 'lesion'"),
        (["--correlation", "1.5"], "'1.5' is neither natural nor a number above 0 and below 1"),
        (["--correlation", ".5", "--levels", "east"], "are not two levels of site"),
        (["--correlation", ".5", "--levels", "east,south"], "site has no level 'south'; it has"),
        (["--correlation", ".5", "--confounder", "site,sex"], "needs one --confounder, not site, sex"),
        (["--budget", "10,x"], "is no list of whole numbers above 0"),
        (["--budget", "100000"], "--budget 100000: the pool at correlation natural has"),
        (["--strategy", "best"], "--strategy: there is no 'best'; choose from confounder_aware"),
        (
            ["--training", "magic"],
            "--training: there is no 'magic'; choose from plain, group_balanced, deconfounded, backbone, auto",
        ),
        (["--group-cap", "2", "--group", ""], "name the column with --group"),
        (["--positive", "yes"], "--positive: no label is 'yes'; the labels are benign, malignant"),
    ],
)
def test_a_mistake_is_named_with_its_mend(folder: Path, asked: list[str], said: str):
    done = call(folder, *asked)
    assert done.exit_code != 0
    assert said in " ".join(done.output.split())
    assert not (folder / "out").exists()


@pytest.mark.parametrize("training", ["plain", "backbone"])
def test_a_folder_without_the_images_is_named_before_any_is_read(folder: Path, training: str):
    given = ["--embeddings", str(folder / "vectors.npy")] if training == "backbone" else []
    (folder / "empty").mkdir()
    done = CliRunner().invoke(
        simulate,
        ["--metadata", str(folder / "metadata.csv"), *given, "--images", str(folder / "empty"), "--label", "diagnosis",
         "--confounder", "site", "--training", training, "--out", str(folder / "out")],
    )  # fmt: skip
    assert done.exit_code == 1
    words = " ".join(done.output.split())
    assert "--images: none of the" in words
    assert "Name the folder that the column's paths start from" in words
    assert "Reading" not in words


def test_embeddings_of_another_table_are_refused(folder: Path):
    with pytest.raises(UsageError, match="the table has 3 rows"):
        read_embeddings(folder / "vectors.npy", 3)
    with pytest.raises(UsageError, match=r"is no \.npy file"):
        read_embeddings(folder / "metadata.csv", 3)
    np.savez(folder / "several.npz", np.zeros((3, 2)))
    with pytest.raises(UsageError, match="it holds several arrays"):
        read_embeddings(folder / "several.npz", 3)


def test_every_option_is_explained():
    for option in simulate.params:
        assert getattr(option, "help", None), f"{option.name} has no help text"
    assert set(TRAININGS) == {"plain", "group_balanced", "deconfounded"}


@pytest.mark.slow
@pytest.mark.skipif(not HAM.exists(), reason="the HAM10000 site data are not beside the project")
def test_on_real_data_the_default_beats_random_with_a_plain_head():
    """Four worlds of METHOD's table: far fewer than its 20, and a gap far smaller than what it measured."""
    rows = read_table(HAM / "metadata.csv")
    vectors = read_embeddings(HAM / "efficientnet_lite0_embeddings.npy", len(rows))
    data = two_levels(
        load_dataset(rows, vectors, name="ham", label="malignant", confounders=["site"], group="lesion_id"),
        ["rosendahl", "vidir_modern"],
    )
    asked = plan(correlations=("0.95",), budgets=(200,), seeds=4, strategies=(DEFAULT[0], BASELINE[0]))
    results = [
        r for c, seed, name in asked.units for r in runner.run_unit(data, c, seed, name, asked).results
    ]
    gap = Findings(results, ["0.95"], [200], 4).difference(DEFAULT, BASELINE, WORST)
    assert gap.mean > 0.1
