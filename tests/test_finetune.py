"""The fine-tune: on drawn images with a small network, its real parts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from backend import eventually
from test_loop import connect, open_tasks, queue_ready, submit_next

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.pool.backbones import load_backbone
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.network import load_network
from cdsel_backend.pool.split import SplitNetwork, tuned_reading
from cdsel_backend.store import State, Store
from cdsel_backend.training import (
    ModelFormatError,
    NotEnoughLabels,
    Pool,
    TrainingLabels,
    TrainingOptions,
    TunedModel,
    load,
    save,
    tail,
    train_head,
)
from cdsel_backend.training.finetune import VIEWS, fine_tune

SMALL, SIZE = "test_efficientnet", 160
CPU = torch.device("cpu")
# What a fine-tune reads of a network.
AS_TUNED = {"weights": "random", "device": "cpu", "features": "last", "view": "fast"}
N, LABELLED = 150, 100


def network(name=SMALL, views=VIEWS):
    return SplitNetwork(load_network(name, weights="random"), CPU, views=views, seed=0)


def draw(n=N, seed=0):
    """Pictures that are positive when stripes and light do not go together, which no linear head finds.

    The site is a tint, and goes with the label.
    """
    rng = np.random.default_rng(seed)
    labels, upright = rng.integers(0, 2, (2, n))
    site = np.where(rng.random(n) < 0.8, labels, 1 - labels)
    light = labels ^ upright
    stripes = 20 * np.sin(np.arange(SIZE) * 0.8)
    pictures = rng.normal(110, 10, (n, SIZE, SIZE, 3))
    pictures += np.where(upright[:, None, None], stripes[None, :, None], stripes[None, None, :])[..., None]
    pictures[..., 1] += 35 * light[:, None, None]
    pictures[..., 0] += 20 * site[:, None, None]
    return pictures.clip(0, 255).astype(np.uint8), labels, Column("site", "categorical", ("a", "b"), site)


@pytest.fixture(scope="module")
def case():
    pixels, labels, site = draw()
    net = network()
    activations = np.concatenate([net.embed_prepared(pixels[i : i + 8]) for i in range(0, N, 8)])
    known = np.where(np.arange(N) < LABELLED, labels, -1)
    trainable = np.arange(N) % 5 > 0
    return net, pixels, activations, labels, known, trainable, site


def test_activations_beyond_half_precision_stay_finite(case):
    net, pixels, activations = case[:3]
    usual = net.embed_prepared(pixels[:2])[:, 0]
    np.testing.assert_array_equal(usual, activations[:2, 0])
    before = net._std
    try:
        net._std = before / 1e8  # as a network whose activations are large
        assert np.isfinite(net.embed_prepared(pixels[:2])).all()
        assert np.abs(net.embed_prepared(pixels[:2]).astype(np.float32)).max() == 65504
    finally:
        net._std = before


def tune(case, known=None, **options):
    net, _, activations, _, labels, trainable, site = case
    labels = labels if known is None else known
    rows = (labels >= 0) & trainable
    return fine_tune(
        net,
        activations[:, 0],
        activations[rows, 1:],
        [site],
        TrainingLabels(
            labels, ["x", "y"], **{"groups": np.arange(N) // 2, "trainable": trainable, **options}
        ),
    )


@pytest.fixture(scope="module")
def tuned(case):
    return tune(case)


def test_it_learns_what_the_frozen_network_does_not_show(case, tuned):
    """To a linear head on both: a kernel finds the stripes against the light in the frozen vectors, too."""
    net, _, activations, truth, known, trainable, site = case
    unseen = known < 0
    net.reset()
    frozen = net.vectors(activations[:, 0])
    learned, plain = TrainingLabels(known, ["x", "y"], trainable=trainable), TrainingOptions(recipe="plain")
    right = []
    for vectors in (frozen, tuned.vectors):
        head = train_head(Pool(vectors, [site]), learned, plain)
        said = head.predict(vectors[unseen], [site.take(unseen)])
        right.append((said.argmax(axis=1) == truth[unseen]).mean())
    assert right[1] > right[0], right
    after = tuned.head.predict(tuned.vectors[unseen], [site.take(unseen)])
    assert (after.argmax(axis=1) == truth[unseen]).mean() > 0.9
    assert not tuned.loses
    assert replace(tuned, gain=-0.05, gain_error=0.02).loses
    assert not replace(tuned, gain=-0.03, gain_error=0.02).loses  # within what chance does


@pytest.mark.slow
def test_the_same_labels_and_seed_give_the_same_bits_and_held_out_labels_play_no_part(case, tuned):
    known, trainable = case[4], case[5]
    other = np.where((known >= 0) & ~trainable, 1 - known, known)
    again = tune(case, other)
    for name, array in tuned.changes.items():
        assert np.array_equal(array, again.changes[name]), name
    assert np.array_equal(tuned.vectors, again.vectors)
    ours, theirs = tuned.head.parts()[0], again.head.parts()[0]
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert (tuned.gain, tuned.stages) == (again.gain, again.stages)


@pytest.mark.slow
def test_labels_that_mean_nothing_are_not_taken_for_skill(case, monkeypatch):
    """A tuned network learns any labels by heart; the accuracy that its head expects must not come from those."""
    monkeypatch.setattr(tail, "_RATE", 3e-3)  # the small network, too, shall learn by heart
    noise = np.where(case[4] >= 0, np.random.default_rng(5).integers(0, 2, N), -1)
    result = tune(case, noise)
    assert result.head.description.accuracy < 0.65


def test_the_changes_make_the_same_backbone_elsewhere(case, tuned):
    changed = load_backbone(SMALL, changes=tuned.changes, **AS_TUNED)
    plain = load_backbone(SMALL, **AS_TUNED)
    pixels = case[1][:8]
    assert changed.fingerprint != plain.fingerprint
    here, moved = (
        np.abs(network.embed_prepared(pixels) - tuned.vectors[:8]).max() for network in (changed, plain)
    )
    assert here < 0.05 * moved  # not 0: activations are kept in half precision
    with pytest.raises(BackboneError, match="setting backbone"):
        load_backbone("test_resnet", changes=tuned.changes, **AS_TUNED)


def test_a_network_that_cannot_be_cut_is_tuned_all_the_same():
    net = network("test_vit")
    before = load_backbone("test_vit", **AS_TUNED)
    pixels = draw(4)[0]
    activations = net.embed_prepared(pixels)
    assert activations.shape == (4, 1 + VIEWS, 3, SIZE, SIZE)
    np.testing.assert_allclose(net.vectors(activations[:, 0]), before.embed_prepared(pixels), atol=1e-3)
    assert all(name.startswith(("blocks.5.", "norm.", "fc_norm.")) for name in net.tuned)


@pytest.mark.parametrize(("name", "weights"), [(SMALL, "blocks.3."), ("test_vit", "blocks.5.")])
def test_several_depths_are_tuned_from_the_first_that_is_read_to_the_last(name, weights):
    net = SplitNetwork(load_network(name, weights="random"), CPU, features="depths", view="close")
    backbone = load_backbone(name, weights="random", device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (2, *net.size, 3)).astype(np.uint8)
    activations = net.embed_prepared(pixels)[:, 0]
    np.testing.assert_allclose(net.vectors(activations), backbone.embed_prepared(pixels), atol=2e-3)
    assert net.fingerprint == backbone.fingerprint
    assert all(name.startswith((weights, "norm.")) for name in net.tuned)
    first = net.vectors(activations)
    with torch.no_grad():
        for weight in net.weights:
            weight.mul_(1.5)
    changed = load_backbone(name, weights="random", device="cpu", changes=net.changes())
    moved = net.vectors(activations)
    assert np.abs(moved - first).max() > 0.1
    np.testing.assert_allclose(moved, changed.embed_prepared(pixels), atol=0.02 * np.abs(moved - first).max())
    assert changed.fingerprint == net.fingerprint != backbone.fingerprint


def test_a_fine_tune_reads_several_depths_on_a_gpu_only():
    """On a CPU they would take an hour."""
    assert tuned_reading(CPU, "depths", "close") == ("last", "fast")
    assert tuned_reading(torch.device("cuda"), "depths", "close") == ("depths", "close")


def test_altered_copies_differ_from_the_image_and_repeat_by_seed():
    pixels = draw(3)[0]
    one, two = (network().embed_prepared(pixels) for _ in range(2))
    assert np.array_equal(one, two)
    assert all(np.abs(one[:, 0] - one[:, view]).max() > 0 for view in range(1, 1 + VIEWS))


@pytest.mark.parametrize("counts", [(9, 10), (60, 4)])
def test_too_few_labels_are_said(case, counts):
    few = np.full(N, -1)
    places = np.flatnonzero(case[5])
    few[places[: sum(counts)]] = [0] * counts[0] + [1] * counts[1]
    with pytest.raises(NotEnoughLabels, match=f"{counts[0]} 'x', {counts[1]} 'y'"):
        tune(case, few)


def test_a_class_from_one_patient_is_said_instead_of_a_crash(case):
    """A fold takes a patient whole, so that the others would hold one class only."""
    patients = np.where(case[3] == 1, 0, np.arange(1, N + 1))
    with pytest.raises(NotEnoughLabels, match="all of 'y' are from one"):
        tune(case, groups=patients)


def test_a_tuned_model_is_kept_and_one_that_was_damaged_is_refused(case, tuned, tmp_path):
    known, site = case[4], case[6]
    base = train_head(Pool(tuned.vectors[:, ::2], [site]), TrainingLabels(known, ["x", "y"]))
    model = TunedModel(base, tuned.head, tuned.changes, "f" * 32, {"gain": tuned.gain}, "depths", "close")
    save(model, tmp_path / "v1")
    back = load(tmp_path / "v1")
    assert isinstance(back, TunedModel)
    assert back.fingerprint == model.fingerprint
    assert back.describe() == model.describe()
    assert (back.features, back.view) == ("depths", "close")
    arrays, described = model.parts()
    old = TunedModel.from_parts(arrays, {k: v for k, v in described.items() if k not in ("features", "view")})
    assert (old.features, old.view) == ("last", "fast")  # a fine-tune of before
    assert all(np.array_equal(array, back.changes[name]) for name, array in model.changes.items())
    assert np.array_equal(back.head.predict(tuned.vectors, [site]), tuned.head.predict(tuned.vectors, [site]))
    assert np.array_equal(
        back.predict(tuned.vectors[:, ::2], [site]), base.predict(tuned.vectors[:, ::2], [site])
    )
    file = tmp_path / "v1" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelFormatError, match=r"model\.safetensors was changed"):
        load(tmp_path / "v1")
    save(replace(model, changes={}), tmp_path / "v2")
    with pytest.raises(ModelFormatError, match="no weights of a fine-tuned backbone"):
        load(tmp_path / "v2")


@pytest.mark.slow
def test_a_fine_tuned_champion_predicts_the_queue_until_it_is_damaged(studio, pool_project, backend):
    """Against a real Label Studio: the delta is kept, its vectors are stored, new images of the queue get theirs."""
    client = LabelStudio(studio.url, studio.token)
    settings = {
        "training": "backbone",
        "backbone": SMALL,
        "backbone_weights": "random",
        "group": "patient_id",
    }
    connect(client, backend, pool_project.id, budget=38, round_size=16, retrain_every=100, **settings)
    for pushed in (16, 32):
        queue = queue_ready(backend, pool_project.id, pushed)["queue_project"]
        while submit_next(client, queue, pool_project.truth) is not None:
            pass
    queue_ready(backend, pool_project.id, 33)
    store = Store(f"sqlite:///{backend.folder / 'cdsel.sqlite3'}")
    project = store.project_of(pool_project.id).id

    def predicted():
        version = State(store, project).project.champion
        waiting = open_tasks(client, queue)
        ids = {task["id"] for task in waiting}
        versions = {one["model_version"] for one in client.predictions(queue) if one["task"] in ids}
        return version if waiting and versions == {version} else None

    version = eventually(predicted, "the queue was never predicted", details=backend.tail)
    state = State(store, project)
    assert state.trainings[-1].version == version
    assert state.trainings[-1].metrics["fine_tune"]["taken"], state.trainings[-1].metrics
    model = load(backend.folder / "models" / str(project) / version)
    assert isinstance(model, TunedModel)
    items, vectors = store.vectors(project, model.fingerprint)
    assert state.open | state.labels.keys() <= set(items)
    own_items, own = store.vectors(project, state.project.backbone)
    assert not np.array_equal(own[np.isin(own_items, items)], vectors)

    file = backend.folder / "models" / str(project) / version / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    status = eventually(
        lambda: (
            (one := backend.status(pool_project.id))["champion"] != version
            and "model.safetensors" in json.dumps(one["problems"])
            and one
        ),
        "the damaged model still serves",
        details=backend.tail,
    )
    assert status["champion"] == state.trainings[-2].version
    store.close()
