"""A model version as an ONNX file and as a command: both say of images what the project's own model says."""

from __future__ import annotations

import csv
import errno
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from conftest import LABEL_CONFIG
from pictured import NETWORK, Pictured
from PIL import Image

from cdsel_backend.cli import main
from cdsel_backend.export import graph
from cdsel_backend.export.graph import Head, Resize, level_codes
from cdsel_backend.export.version import UnusableVersion, open_version
from cdsel_backend.labels import presence_text
from cdsel_backend.pool.backbones import fit_to
from cdsel_backend.pool.decode import decode
from cdsel_backend.project.serving import Predictions, load_champion, model_folder
from cdsel_backend.store.vector_shelf import as_kept
from cdsel_backend.training import HeadModel, PresenceModel, TunedModel, load

MULTIPLE = (Path(__file__).parents[1] / "label_config/multiple_choice.xml").read_text()
SAME = 1e-4


def single(shown):
    return "malignant" if shown[0] else "benign"


def findings(shown):
    names = [name for name, there in zip(("effusion", "nodule"), shown, strict=True) if there]
    return presence_text(names)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """One class an image: version 1 is a head, version 2 has a fine-tuned backbone."""
    made = Pictured(tmp_path_factory.mktemp("single"), label_config=LABEL_CONFIG, label=single)
    made.round()
    layers = made.state().project.layers
    changed = {**layers["extra parameters"], "training": "backbone"}
    made.store.update_project(made.project, layers={**layers, "extra parameters": changed})
    made.round()
    return made


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    return Pictured(
        tmp_path_factory.mktemp("several"), label_config=MULTIPLE, label=findings, n=60, view="close"
    )


def cdsel(made, monkeypatch, *words):
    monkeypatch.setenv("CDSEL_DATA_DIR", str(made.server.data_dir))
    monkeypatch.setenv("CDSEL_DEVICE", "cpu")
    monkeypatch.delenv("CDSEL_DATABASE_URL", raising=False)
    return CliRunner().invoke(main, words)


def exported(made, monkeypatch, version, folder):
    """The session of an exported version, its metadata, its card, and what `cdsel predict` says by image."""
    answer = cdsel(made, monkeypatch, "models", "export", version, "-o", str(folder / "m.onnx"))
    assert answer.exit_code == 0, answer.output
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # that the levels have a default
    session = onnxruntime.InferenceSession(str(folder / "m.onnx"), options)
    texts = session.get_modelmeta().custom_metadata_map
    card = (folder / "m.md").read_text(encoding="utf-8")
    assert texts["model_card"] == card
    answer = cdsel(made, monkeypatch, "predict", version, str(made.table), "--csv", str(folder / "m.csv"))
    assert answer.exit_code == 0, answer.output
    rows = list(csv.DictReader((folder / "m.csv").open(encoding="utf-8-sig")))
    said = {
        row["image"]: [float(row[f"probability of {name}"]) for name in json.loads(texts["classes"])]
        for row in rows
    }
    return session, texts, card, said


def test_a_full_disk_is_not_taken_for_a_network_that_cannot_be_written(project, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch.onnx, "export", full)
    answer = cdsel(project, monkeypatch, "models", "export", "champion", "-o", str(tmp_path / "m.onnx"))
    assert answer.exit_code == 1
    assert "m.onnx cannot be written (No space left on device)" in answer.output
    assert list(tmp_path.iterdir()) == []


def pictures_of(made):
    """Item, decoded picture (1, height, width, 3)."""
    for item in made.state().items:
        picture = decode((made.images / item.key).read_bytes())
        yield item, np.asarray(picture)[None]


@pytest.mark.parametrize(("version", "kind"), [("cdsel-7-v1", HeadModel), ("cdsel-7-v2", TunedModel)])
def test_the_file_says_what_the_version_says(version, kind, project, monkeypatch, tmp_path):
    session, texts, card, said = exported(project, monkeypatch, version, tmp_path)
    model = load(model_folder(project.server, project.project) / version)
    assert isinstance(model, kind)
    assert (texts["version"], texts["kind"]) == (version, "single")
    assert json.loads(texts["settings"])["backbone"] == NETWORK
    assert model.variables, "the drawn site is a confounder"
    sizes = set()
    for item, picture in pictures_of(project):
        levels = level_codes(model, [item.metadata])
        given = session.run(None, {"pictures": picture, "levels": levels})[0][0]
        assert np.abs(given - said[item.key]).max() < SAME, item.key
        sizes.add(picture.shape)
    assert len(sizes) > 20
    # Without levels: as an image without metadata.
    item, picture = next(iter(pictures_of(project)))
    missing = level_codes(model, [{}])
    default = session.run(None, {"pictures": picture})[0]
    assert np.array_equal(default, session.run(None, {"pictures": picture, "levels": missing})[0])
    assert [one["missing"] for one in json.loads(texts["variables"])] == missing[0].tolist()
    # Several pictures of one size at once.
    two = np.concatenate([picture, picture[:, ::-1]])
    apart = [session.run(None, {"pictures": one[None]})[0][0] for one in two]
    assert np.abs(session.run(None, {"pictures": two})[0] - apart).max() < SAME
    for words in (
        "## Confounders",
        "| site |",
        "## Metrics",
        "| group | n |",
        "## Limits",
        "Drawn \\| &lt;b>",
    ):
        assert words in card


def test_the_file_says_what_the_project_serves(project, monkeypatch, tmp_path):
    """The champion's answers for the pool come of kept vectors, and those of the file of pictures."""
    assert cdsel(project, monkeypatch, "models", "promote", "cdsel-7-v1").exit_code == 0
    session, _, _, _ = exported(project, monkeypatch, "champion", tmp_path)
    state = project.state()
    model = load_champion(project.server, state)
    served = Predictions(project.server, project.store).of_items(state, [item.id for item in state.items])
    for item, picture in pictures_of(project):
        levels = level_codes(model, [item.metadata])
        assert (
            np.abs(session.run(None, {"pictures": picture, "levels": levels})[0][0] - served[item.id]).max()
            < SAME
        )


def test_several_classes_an_image(several, monkeypatch, tmp_path):
    several.round()
    session, texts, card, said = exported(several, monkeypatch, "champion", tmp_path)
    model = load_champion(several.server, several.state())
    assert isinstance(model, PresenceModel)
    assert list(model.left_out) == ["pneumothorax"]
    assert texts["kind"] == "presence"
    assert "Not learned, for want of both outcomes: pneumothorax" in card
    for item, picture in pictures_of(several):
        inputs = {"pictures": picture}
        if model.variables:
            inputs["levels"] = level_codes(model, [item.metadata])
        given = session.run(None, inputs)[0][0]
        assert np.abs(given - said[item.key]).max() < SAME, item.key
        assert given[2] == 0


@pytest.mark.parametrize("version", [2, 3])
def test_heads_of_former_formats_are_the_same_as_a_graph(version):
    model = load(Path(__file__).parent / "models" / f"head-format-{version}")
    assert isinstance(model, HeadModel)
    assert (len(model.landmarks) > 0) == (version > 2)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, len(model.representation.mean))).astype(np.float32)
    rows = [{v.name: v.levels[i % len(v.levels)] for v in model.variables} for i in range(20)] + [{}]
    vectors = np.vstack([vectors, vectors[:1]])
    columns = [variable.encode(rows) for variable in model.variables]
    levels = torch.from_numpy(level_codes(model, rows)) if model.variables else None
    found = Head(model)(torch.from_numpy(vectors), levels).numpy()
    assert np.abs(found - model.predict(vectors, columns)).max() < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (137, 211), (160, 97), (224, 160), (450, 601), (17, 900)])
def test_resizing_in_a_graph_is_that_of_the_embedding(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    ours = fit_to(Image.fromarray(pixels), (160, 192)).astype(int)
    theirs = Resize((160, 192))(torch.from_numpy(pixels)[None])[0].numpy()
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 1e-3


def test_vectors_are_rounded_in_a_graph_as_in_the_store():
    vectors = np.random.default_rng(0).normal(size=(6, 50)).astype(np.float32)
    vectors *= np.array([1, 1e5, 1e-4, 1e9, 0, 60_000], dtype=np.float32)[:, None]
    assert np.array_equal(graph.as_kept(torch.from_numpy(vectors)).numpy(), as_kept(vectors))


def test_images_that_cannot_be_used_have_their_reason_and_names_are_no_formulas(
    project, monkeypatch, tmp_path
):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.full((30, 40, 3), 90, dtype=np.uint8)).save(folder / "=cmd.png")
    (folder / "broken.png").write_bytes(b"no image")
    answer = cdsel(
        project, monkeypatch, "predict", "cdsel-7-v1", str(folder), "--csv", str(tmp_path / "a.csv")
    )
    assert answer.exit_code == 0, answer.output
    assert "2 images" in answer.output
    rows = {row["image"]: row for row in csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8-sig"))}
    assert set(rows) == {"'=cmd.png", "broken.png"}
    assert rows["'=cmd.png"]["label"] in ("benign", "malignant")
    assert "not an image" in rows["broken.png"]["problem"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("models", "export", "v9", "-o", "m.onnx"), "there is no version 'v9'"),
        (("models", "export", "cdsel-7-v1", "-o", "m.md"), "name it m.onnx"),
        (("models", "export", "cdsel-7-v1", "-o", "m.v2.pt"), "m.v2.pt would hold ONNX"),
        (("predict", "cdsel-7-v1", ".", "--csv", "t.csv.gz"), "name it t.csv"),
        (("predict", "cdsel-7-v1", "/no/such/folder", "--csv", "a.csv"), "no such file or folder"),
        (("predict", "cdsel-7-v1", "t.csv", "--csv", "./t.csv"), "would be overwritten: name another file"),
        (("predict", "cdsel-7-v1", ".", "--csv", "/no/such/folder/a.csv"), "cannot be written"),
    ],
)
def test_bad_input_is_named(words, said, project, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("image,site\na.png,n\n")
    answer = cdsel(project, monkeypatch, *words)
    assert answer.exit_code
    assert said in answer.output
    assert Path("t.csv").read_text() == "image,site\na.png,n\n"


def test_labels_are_not_written_over_the_table_that_lists_the_images(project, monkeypatch):
    before = project.table.read_text()
    answer = cdsel(project, monkeypatch, "export", "-o", str(project.table))
    assert answer.exit_code == 2
    assert (
        "is the table that images are listed by, and would be overwritten: name another file" in answer.output
    )
    assert project.table.read_text() == before


def test_without_onnx_the_error_names_the_extra(project, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    answer = cdsel(project, monkeypatch, "models", "export", "cdsel-7-v1", "-o", str(tmp_path / "m.onnx"))
    assert answer.exit_code == 1
    assert "pip install 'cdsel-backend[export]'" in answer.output
    assert not list(tmp_path.iterdir())


def test_a_version_whose_backbone_is_another_by_now_is_refused(project, monkeypatch):
    monkeypatch.setattr("cdsel_backend.pool.network._PREPROCESSING_VERSION", 99)
    with pytest.raises(UnusableVersion, match="another backbone"):
        open_version(project.server, project.state(), "cdsel-7-v1")
