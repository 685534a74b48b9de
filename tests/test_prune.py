"""`cdsel pool prune` frees what a removed project alone had vectors of."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from cdsel_backend.cli import main
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store, vector_shards

ALONE, SHARED = "backbone-alone", "backbone-shared"


def test_vectors_of_a_removed_project_are_freed_unless_another_has_its_backbone(tmp_path):
    server = ServerSettings(data_dir=tmp_path, label_studio_api_key="0" * 40)
    store = Store.open(server)
    removed = [
        store.connect_project("http://studio", n, backbone=name) for n, name in ((1, ALONE), (2, SHARED))
    ]
    store.connect_project("http://studio", 3, backbone=SHARED)
    for name in (ALONE, SHARED):
        store.vectors_kept.append(name, [f"{1:064}"], np.ones((1, 4)))
    # A model of a removed project keeps nothing; one of a project that is there does.
    for project, words in ((removed[0], ALONE), (3, "backbone-of-a-model")):
        folder = tmp_path / "models" / str(project) / "v1"
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(f'{{"backbone": "{words}"}}')
    store.vectors_kept.append("backbone-of-a-model", [f"{1:064}"], np.ones((1, 4)))

    def prune(*words):
        environment = {"CDSEL_DATA_DIR": str(tmp_path), "CDSEL_DATABASE_URL": ""}
        answer = CliRunner().invoke(main, ["pool", "prune", *words], env=environment)
        assert answer.exit_code == 0, answer.output
        return answer.output

    assert prune() == "0 bytes freed\n"
    for project in removed:
        store.remove_project(project)
    size = store.vectors_kept.size_bytes(ALONE)
    said = prune("--dry-run")
    assert f"{ALONE}: 1 vector, {size:,} bytes" in said
    assert f"{size:,} bytes would be freed" in said
    assert f"{SHARED}: stays, though a project was removed: project 3 has the same backbone" in said
    assert f"\n{size:,} bytes freed" in prune()
    assert sorted(Store(server.database_url).vectors_kept.backbones()) == ["backbone-of-a-model", SHARED]
    store.close()


def test_a_folder_without_vectors_is_said(tmp_path):
    for command, what in (("verify", "check"), ("prune", "delete")):
        said = CliRunner().invoke(main, ["pool", command], env={"CDSEL_DATA_DIR": str(tmp_path)})
        assert said.exit_code == 0
        assert f"No vectors are kept in {tmp_path / 'vectors'}: there is nothing to {what}." in said.output
    said = CliRunner().invoke(main, ["models", "list"], env={"CDSEL_DATA_DIR": str(tmp_path)})
    assert said.exit_code == 2
    assert "no project is connected" in said.output
    assert "CDSEL_DATA_DIR" in said.output


def test_a_prune_that_is_stopped_or_refused_says_so_and_leaves_no_half(tmp_path, monkeypatch):
    store = Store(f"sqlite:///{tmp_path}/cdsel.sqlite3", tmp_path / "vectors")
    kept, hashes = store.vectors_kept, [f"{n:064}" for n in range(9)]
    kept.append(ALONE, hashes, np.ones((9, 4)))
    real = shutil.rmtree

    def stopped(path, **options):
        if not options:  # of what is being deleted, not of what an earlier command left
            (path / "form.json").unlink()
            raise KeyboardInterrupt
        real(path, **options)

    monkeypatch.setattr(vector_shards.shutil, "rmtree", stopped)
    with pytest.raises(KeyboardInterrupt):
        kept.remove(ALONE)
    assert kept.backbones() == []
    assert kept.append(ALONE, hashes[:2], np.full((2, 6), 2)).tolist() == [0, 1]  # nothing of the former
    monkeypatch.setattr(vector_shards.shutil, "rmtree", real)
    again = Store(f"sqlite:///{tmp_path}/cdsel.sqlite3", tmp_path / "vectors").vectors_kept
    assert [path.name for path in (tmp_path / "vectors").iterdir()] == again.backbones() == [ALONE]

    def refused(path, target):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(vector_shards.Path, "rename", refused)
    environment = {
        "CDSEL_DATA_DIR": str(tmp_path),
        "CDSEL_DATABASE_URL": "",
        "LABEL_STUDIO_API_KEY": "0" * 40,
    }
    answer = CliRunner().invoke(main, ["pool", "prune"], env=environment)
    assert (answer.exit_code, again.count(ALONE)) == (1, 2)
    assert "cannot be deleted (Permission denied): see that you may write to" in answer.output
    store.close()
