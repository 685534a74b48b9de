"""The backtest selects what a project selects: the same rounds and trainings, from files or from Label Studio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from world import World

from cdsel_backend.project.embedded import read_pool
from cdsel_backend.reconcile.confounders import detect_confounders
from cdsel_backend.reconcile.rounds import select_round
from cdsel_backend.reconcile.training import train
from cdsel_backend.selection import SelectionOptions
from cdsel_backend.simulate.dataset import Dataset, load_dataset
from cdsel_backend.simulate.plan import Plan
from cdsel_backend.simulate.run import Run, make_scene
from cdsel_backend.training import is_held_out

SEED, ROUNDS, SIZE = 3, 3, 24
PATIENTS = [
    name for name in (f"P{i:04}" for i in range(300)) if not is_held_out([f"patient={name}"])[0]
]  # whose labels a project trains on; their names sort as they come


def history(n: int = 400) -> Dataset:
    """A confounded history of patients whose labels a project trains on: it tests on others, as a backtest does."""
    rng = np.random.default_rng(0)
    site = rng.integers(0, 2, n)
    label = (rng.random(n) < np.where(site == 0, 0.8, 0.2)).astype(int)
    vectors = rng.normal(size=(n, 24))
    vectors[:, 0] += 1.5 * label
    vectors[:, 1] += 3.0 * site
    rows = [
        {
            "label": ("benign", "malignant")[label[i]],
            "site": ("north", "south")[site[i]],
            "sex": ("f", "m")[int(rng.integers(2))],
            "patient": PATIENTS[i // 2],
        }
        for i in range(n)
    ]
    stored = vectors.astype(np.float16).astype(np.float32)  # a store keeps half precision
    return load_dataset(rows, stored, name="made", label="label", confounders=["site"], group="patient")


def as_project(folder: Path, pool: Dataset, **settings: object) -> World:
    """A project whose pool is a backtest's, in the same order."""
    metadata = [
        {"site": level, "patient": PATIENTS[code]}
        for level, code in zip(pool.columns[0].names, pool.groups, strict=True)
    ]
    labels = [pool.classes[code] for code in pool.labels]
    return World(
        folder,
        given=(pool.vectors, metadata, labels),
        seed=SEED,
        budget=ROUNDS * SIZE,
        round_size=SIZE,
        group="patient",
        confounders=["site"],
        **settings,
    )


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("confounder_aware", {}),
        ("uherding", {"near_duplicate": 0.98, "random_share": 0.3}),
        ("margin", {"group_cap": 1, "strength": 0.25}),
    ],
)
def test_a_backtest_and_a_project_select_the_same_images_in_the_same_order(
    tmp_path: Path, strategy: str, options: dict[str, float]
):
    data = history()
    scene = make_scene(data, "natural", SEED, 1)
    pool = scene.pool
    world = as_project(tmp_path, pool, strategy=strategy, **options)
    first = min(world.truth)
    selected = []
    for number in range(1, ROUNDS + 1):
        world.step(detect_confounders)
        assert world.step(select_round)
        state = world.state()
        selected.append([row.item - first for row in state.selections if row.round == number])
        world.push()
        world.label(state.open | world.state().open | state.labels.keys())
        if number == ROUNDS:
            break
        assert world.step(train)
        assert world.state().trainings[-1].version == world.state().project.champion is not None
    embedded = read_pool(world.state())
    assert not embedded.held_out.any()
    assert np.array_equal(embedded.vectors, pool.vectors)

    given = {key: value for key, value in options.items() if key != "strength"}
    plan = Plan(
        (strategy,), ("deconfounded",), ("natural",), (ROUNDS * SIZE,), ROUNDS, 1, 1, SelectionOptions(**given)
    )  # fmt: skip
    run = Run(scene, strategy, "deconfounded", ROUNDS * SIZE, plan)
    if "strength" in options:
        run.strength = options["strength"]
    run.select(None)
    assert [chosen.tolist() for chosen in run.chosen] == selected
    assert sum(len(chosen) for chosen in selected) == ROUNDS * SIZE
