"""`cdsel demo` as a user runs it, its tables, and a picture of the queue in a browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from backend import eventually
from click.testing import CliRunner
from conftest import PoolProject
from playwright.sync_api import Browser, expect

from cdsel_backend.demo.backend import LocalBackend
from cdsel_backend.demo.command import demo
from cdsel_backend.demo.images import LabelledImages, label_config, read_images
from cdsel_backend.demo.live import round_line
from cdsel_backend.demo.measure import PLAIN_DRAWS, fresh, measure_plain, random_labels
from cdsel_backend.demo.sample import _rows, draw_sample
from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import parse_label_space
from cdsel_backend.table import UsageError

HAM10000 = Path(__file__).parents[2] / "shared" / "data" / "ham10000_site"
COMMAND = [sys.executable, "-m", "cdsel_backend.cli", "demo"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own table of 90 images, two of them unusable."""
    return draw_sample(tmp_path_factory.mktemp("own images"), n=90, seed=5)


def run(*arguments: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `cdsel demo`; past the time limit it is ended, so that it ends what it started."""
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            printed, _ = process.communicate(timeout=timeout)
        except BaseException:
            process.terminate()
            printed, _ = process.communicate(timeout=120)
            print(printed)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, printed)


def children_of(pid: int) -> list[int]:
    """All processes below one, children's children too."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(stat.parent.name)
            found += [child, *children_of(child)]
    return found


@pytest.mark.slow
def test_auto_runs_two_rounds_on_own_images(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run(
        *("--auto", "--rounds", "2", "--round-size", "8", "--budget", "14", "--json", str(out)),
        *("--metadata", str(own), "--label", "diagnosis", "--group", "patient_id", "--ignore", "age"),
        *("--limit", "80", "--data-dir", str(tmp_path / "kept")),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "queue ready: 8 of a budget of 14" in done.stdout
    lines = re.findall(r"^round (\d+): pushed (\d+), labelled (\d+), model (\S+)", done.stdout, re.MULTILINE)
    assert [line[:3] for line in lines] == [("1", "8", "8"), ("2", "6", "6")]

    result = json.loads(out.read_text())
    assert result["budget"] == result["labels_total"] == 14
    assert result["items"] == 80
    assert result["queue_project"] != result["pool_project"]
    assert result["label_studio_url"].startswith("http://127.0.0.1:")
    assert [(row["round"], row["pushed"], row["labelled"]) for row in result["rounds"]] == [
        (1, 8, 8),
        (2, 6, 6),
    ]
    assert {"variable", "verdict", "encoded", "associated"} == set(result["confounders"][0])
    assert result["rounds"][-1]["model_version"]
    metrics = result["rounds"][-1]["metrics"]
    assert 0 <= metrics["accuracy"] <= 1
    assert "offered for labelling" in metrics["measured_on"]
    # The label never reached Label Studio, nor the backend.
    stored = b"".join(path.read_bytes() for path in (tmp_path / "kept").rglob("*.sqlite3*"))
    assert b'"site": "' in stored
    assert b'"diagnosis": "' not in stored


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended may wait for its parent to take note (state Z)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_ends_everything_and_removes_the_temporary_folder(tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(
        [*COMMAND, "--round-size", "5", "--budget", "10", "--limit", "40"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C ends" in line:
            break
    assert any("queue ready: 5 of a budget of 10" in line for line in lines), "".join(lines)
    below = children_of(process.pid)
    assert len(below) >= 3  # Label Studio, the web server, the worker
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(120) == 0, rest
    # The kernel takes a moment; what is still there after that was left behind.
    eventually(lambda: not any(map(alive, below)), "processes were left behind")
    assert not list(tmp_path.glob("cdsel-demo-*"))


@pytest.mark.slow
@pytest.mark.pictures
def test_queue_in_a_browser(
    studio: LocalStudio,
    pool_project: PoolProject,
    chromium: Browser,
    tmp_path: Path,
    picture: Callable[..., None],
) -> None:
    """What an annotator sees: the place, the reason, the choices and the image, without scrolling."""
    client = LabelStudio(studio.url, studio.token)
    with LocalBackend(studio, tmp_path) as backend:
        settings = {"budget": 12, "round_size": 6, "group": "patient_id", "confounders": ["site"]}
        client.connect_backend(pool_project.id, backend.url, "cdsel", extra_params=json.dumps(settings))
        status = eventually(
            lambda: (now := backend.status(pool_project.id)).get("open") == 6 and now,
            "the queue was not filled",
            details=backend.log_tail,
        )
        task = client.next_task(status["queue_project"])
        assert task is not None
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{studio.url}/user/login/")
        page.fill("input[name=email]", studio.email)
        page.fill("input[name=password]", studio.password)
        page.click("button[type=submit]")
        page.goto(f"{studio.url}/projects/{status['queue_project']}/data?labeling=1")
        for words in ("1 of 12", task["data"]["cdsel_reason"], "benign", "malignant"):
            expect(page.get_by_text(words).first).to_be_in_viewport(timeout=30_000)
        image = page.locator("img[alt='image'], .lsf-image img, canvas").first
        expect(image).to_be_in_viewport(timeout=30_000)
        page.wait_for_load_state("networkidle")
        picture(page, "annotator")
        page.goto(f"{studio.url}/projects/{pool_project.id}/data?task={pool_project.task_ids[0]}")
        expect(page.get_by_text("malignant").first).to_be_visible(timeout=30_000)
        expect(page.get_by_text("cdsel_reason")).to_have_count(
            0
        )  # the pool's tasks have none: nothing is shown
        page.close()


@pytest.mark.slow
def test_auto_on_real_images(tmp_path: Path) -> None:
    if not HAM10000.is_dir():
        pytest.skip(f"real images are not here: {HAM10000}")
    done = run(
        *("--auto", "--rounds", "3", "--round-size", "40", "--limit", "1000", "--json", "out.json"),
        *("--metadata", str(HAM10000 / "metadata.csv"), "--label", "malignant", "--group", "lesion_id"),
        *("--ignore", "dx,dx_type,image_id"),
        cwd=tmp_path,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["labels_total"] == 120
    verdicts = {found["variable"]: found["verdict"] for found in result["confounders"]}
    assert verdicts["site"] == "confounder"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--label", "x"], "--label describes a table of your own: name that with --metadata"),
        (["--metadata", "TABLE"], "--metadata needs --label"),
        (["--metadata", "TABLE", "--label", "dx"], "--label: .* has no column 'dx'; it has file, diagnosis"),
        (["--metadata", "TABLE", "--label", "file"], "column 'file' .* has 90 different values"),
        (
            ["--metadata", "JSON.csv", "--label", "diagnosis"],
            "'diagnosis' of JSON.csv holds lists .* one class into each",
        ),
        (
            ["--metadata", "ONE.csv", "--label", "diagnosis"],
            "has 1 different value, such as 'cat', and a label has 2",
        ),
        (["--metadata", "TABLE", "--label", "diagnosis", "--group", "p"], "--group: .* no column 'p'"),
        (["--metadata", "TABLE", "--label", "diagnosis", "--ignore", "a,b"], "--ignore: .* no column 'a'"),
        (["--metadata", "TABLE", "--label", "diagnosis", "--images", "EMPTY"], "none of the 90 files"),
        (["--metadata", "EMPTY.csv", "--label", "diagnosis"], "no rows below its header"),
        (["--metadata", "BINARY.csv", "--label", "diagnosis"], "cannot be read as a CSV table"),
        (["--json", "out.json"], "--json writes the results of --auto"),
        (["--auto", "--json", "nowhere/out.json"], "--json: there is no folder"),
        (["--budget", "10"], "--budget is smaller than --round-size"),
        (["--data-dir", "."], "--data-dir: . is not empty"),
    ],
)
def test_bad_options_are_told_before_anything_starts(
    arguments: list[str], words: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "EMPTY.csv").write_text("file,diagnosis\n")
    (tmp_path / "ONE.csv").write_text("file,diagnosis\na.png,cat\nb.png, cat \nc.png,nan\n")
    nested = '"{""choices"": [""a""]}"'
    (tmp_path / "JSON.csv").write_text(f"file,diagnosis\na.png,{nested}\nb.png,b\n")
    (tmp_path / "BINARY.csv").write_bytes(b"\xff\xfe\x01\x00" * 50)
    result = CliRunner().invoke(demo, [str(own) if word == "TABLE" else word for word in arguments])
    assert result.exit_code == 2
    assert re.search(words, " ".join(result.output.split())), result.output


def test_limit_takes_the_same_random_subset(own: Path) -> None:
    def read(seed: int) -> list[str]:
        table = read_images(own, own.parent, image_column="file", label="diagnosis", limit=30, seed=seed)
        return list(table.files)

    assert read(1) == read(1) == sorted(read(1))
    assert len(read(1)) == 30
    assert read(1) != read(2)


def test_tasks_hold_the_metadata_and_not_the_label(own: Path) -> None:
    images = read_images(own, own.parent, image_column="file", label="diagnosis", group="patient_id")
    task = images.tasks(own.parent.parent)[0]["data"]
    assert set(task) == {"image", "site", "sex", "age", "patient_id"}
    assert task["image"] == "/data/local-files/?d=own%20images0/images/lesion_0001.jpg"


@pytest.mark.parametrize("form", ["{}", "file://{}", "images\\{.name}", "images/{.stem}"])
def test_an_image_has_one_address_however_the_table_names_its_file(
    own: Path, tmp_path: Path, form: str
) -> None:
    file = own.parent / "images" / "lesion_0001.jpg"
    table = tmp_path / "table.csv"
    table.write_text(f"file,diagnosis\n{form.format(file)},benign\n{form.format(file)},malignant\n")
    images = read_images(table, own.parent, image_column="file", label="diagnosis")
    task = images.tasks(own.parent.parent)[0]["data"]
    assert task["image"] == "/data/local-files/?d=own%20images0/images/lesion_0001.jpg"
    if "name" not in form and "stem" not in form:
        with pytest.raises(UsageError, match=r"does not lie below .*name a folder that holds all images"):
            read_images(table, tmp_path, image_column="file", label="diagnosis")


def test_rows_without_a_label_are_left_out(own: Path, tmp_path: Path) -> None:
    with own.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[3]["diagnosis"] = ""
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    images = read_images(table, own.parent, image_column="file", label="diagnosis")
    assert len(images.files) == 89
    assert images.classes == ("benign", "malignant")


def test_one_class_is_no_label(own: Path, tmp_path: Path) -> None:
    shutil.copy(own, tmp_path / "table.csv")
    text = (tmp_path / "table.csv").read_text().replace("malignant", "benign")
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UsageError, match="has 1 different value, such as 'benign'"):
        read_images(tmp_path / "table.csv", own.parent, image_column="file", label="diagnosis")


def test_label_config_asks_for_any_classes() -> None:
    names = tuple(f"class {letter} <&>" for letter in "abcdefghijkl")
    space = parse_label_space(label_config(names))
    assert space.classes == names
    assert "$cdsel_reason" in label_config(names)


def test_fresh_leaves_out_whole_patients(own: Path) -> None:
    images = read_images(own, own.parent, image_column="file", label="diagnosis", group="patient_id")
    offered = np.zeros(90, dtype=bool)
    offered[[4, 17]] = True
    touched = {images.metadata[row]["patient_id"] for row in (4, 17)}
    rest = fresh(images, offered)
    assert {images.metadata[row]["patient_id"] for row in rest}.isdisjoint(touched)
    assert len(rest) == sum(row["patient_id"] not in touched for row in images.metadata)


def test_plain_training_falls_into_the_trap() -> None:
    """Vectors that hold the site and nothing of the class: plain training learns the site."""
    rows = _rows(600, seed=0)
    images = LabelledImages(
        folder=Path("/nowhere"),
        files=[row.file for row in rows],
        metadata=[{"site": row.site, "patient_id": row.patient_id} for row in rows],
        truth=[row.diagnosis for row in rows],
        group="patient_id",
    )
    vectors = np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32)
    vectors[:, 0] += [6 * (row.site == "riverside") for row in rows]
    rows = np.arange(600)
    plain = measure_plain(vectors, rows, images, ["site"], random_labels(images, rows, 60, seed=0))
    assert plain is not None
    assert plain["draws"] == PLAIN_DRAWS
    assert plain["accuracy"] > 0.75
    assert plain["worst_group_accuracy"] < 0.15
    assert plain == measure_plain(vectors, rows, images, ["site"], random_labels(images, rows, 60, seed=0))


def test_a_round_in_one_line() -> None:
    metrics = {"accuracy": 0.8123, "worst_group_accuracy": None, "worst_group": None}
    row = {
        "round": 2,
        "pushed": 20,
        "labelled": 20,
        "model_version": "v2",
        "champion": "v1",
        "metrics": metrics,
    }
    assert round_line(row) == (
        "round 2: pushed 20, labelled 20, model v2 (not better: v1 stays), accuracy 0.812, worst-group accuracy -"
    )
    assert ", model v2, " in round_line(row | {"champion": "v2"})
    assert ", model none of its own (v1 serves), " in round_line(row | {"model_version": None})
    untrained = round_line(row | {"model_version": None, "champion": None})
    assert ", model none yet: too few labels of a class, " in untrained
