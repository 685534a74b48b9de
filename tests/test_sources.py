"""Pools outside Label Studio: tables, folders and buckets, and the files that people really have in them."""

from __future__ import annotations

import csv
import datetime
import errno
import gzip
import io
import json
import os
import resource
import socket
import sys
import threading
import time
import tracemalloc
import unicodedata
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import LABEL_CONFIG
from PIL import Image

from cdsel_backend.cli import main
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.pool.decode import UnreadableImage, decode
from cdsel_backend.pool.source import PoolSource, SourceError, SourceItem
from cdsel_backend.project.source import KEY_FILE, OutsideItem, ProjectPool, take_in
from cdsel_backend.server.pool_command import whole_address
from cdsel_backend.settings import ServerSettings
from cdsel_backend.sources import SourceOptions, open_source
from cdsel_backend.sources.files import Files
from cdsel_backend.sources.manifest import folder_and_name
from cdsel_backend.sources.overlap import image_folder
from cdsel_backend.sources.storage import Trouble
from cdsel_backend.store import State, Store
from cdsel_backend.store.records import Source
from cdsel_backend.table import UsageError, read_table

KEY = b"a secret"


def picture(number: int = 0, size: tuple[int, int] = (24, 16), kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    rng = np.random.default_rng(number)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(out, kind)
    return out.getvalue()


def source(address: str | Path, **options: object) -> PoolSource:
    return open_source(str(address), SourceOptions(**options), key=KEY)


def at(path: str) -> SourceItem:
    """An item whose image lies there."""
    return SourceItem(path, path, {})


def items(found: PoolSource, watermark: str = "") -> list[SourceItem]:
    listing = found.list(watermark)
    assert listing is not None
    return list(listing.items)


@pytest.fixture
def bucket() -> Iterator[str]:
    """A prefix of a storage that is no folder of this machine."""
    filesystem = fsspec.filesystem("memory")
    for number in range(3):
        filesystem.pipe(f"/bucket/scans/{number}.png", picture(number))
    filesystem.pipe("/bucket/scans/north/3.png", picture(3))
    filesystem.pipe("/bucket/secret.png", picture(9))
    yield "memory://bucket/scans"
    filesystem.rm("/bucket", recursive=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a few images, and a table of them."""
    (tmp_path / "north").mkdir()
    for name in ("0.png", "1.png", "north/2.png"):
        (tmp_path / name).write_bytes(picture(len(name)))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


ROWS = [
    {"path": "0.png", "site": "a", "age": "51", "patient": "p1"},
    {"path": "1.png", "site": "b", "age": "", "patient": "p1"},
    {"path": "north/2.png", "site": "a", "age": "70", "patient": "p2"},
]


def write_csv(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    lines = [rows[0], *(row.values() for row in rows)]
    path.write_text("\n".join(delimiter.join(line) for line in lines), encoding="utf-8-sig")
    return path


def write_jsonl(path: Path) -> Path:
    path.write_text("\n".join(json.dumps({k: v or None for k, v in row.items()}) for row in ROWS) + "\n\n")
    return path


def write_parquet(path: Path) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    parquet.write_table(
        arrow.Table.from_pylist([{k: v or None for k, v in row.items()} for row in ROWS]), path
    )
    return path


# Every source


@pytest.mark.parametrize("kind", ["folder", "bucket", "csv", "jsonl", "parquet"])
def test_every_source_keeps_to_the_port(kind: str, folder: Path, bucket: str) -> None:
    address = {
        "folder": lambda: folder,
        "bucket": lambda: bucket,
        "csv": lambda: write_csv(folder / "pool.csv", ROWS),
        "jsonl": lambda: write_jsonl(folder / "pool.jsonl"),
        "parquet": lambda: write_parquet(folder / "pool.parquet"),
    }[kind]()
    found = source(address)
    listed = items(found)
    assert len(listed) == (4 if kind == "bucket" else 3)
    assert len({item.key for item in listed}) == len(listed)
    for item in listed:
        assert item.problem is None
        assert decode(found.read(item)).size == (24, 16)
        assert found.annotator_address(item) is None
        assert dict(found.describe(item)) == {}
    assert listed == items(source(address))  # again, and by another process, the same
    with pytest.raises(UnreadableImage):
        found.read(at("none.png"))
    for outside in ("../secret.png", "/etc/passwd", "north/../../secret.png", "s3://elsewhere/x.png"):
        with pytest.raises(UnreadableImage):
            found.read(at(outside))


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet])
def test_the_other_columns_of_a_table_are_variables(write, folder: Path) -> None:
    path = folder / f"pool.{write.__name__.removeprefix('write_')}"
    listed = items(source(write(path, ROWS) if write is write_csv else write(path)))
    assert [item.image for item in listed] == ["0.png", "1.png", "north/2.png"]
    assert [dict(item.data) for item in listed] == [
        {"site": "a", "age": "51", "patient": "p1"},
        {"site": "b", "patient": "p1"},
        {"site": "a", "age": "70", "patient": "p2"},
    ]


def test_folders_of_systems_are_passed_over(folder: Path) -> None:
    """What was deleted, former states and thumbnails are no images of the pool."""
    memory = fsspec.filesystem("memory")
    for name in (".trash", ".snapshot/daily", "$RECYCLE.BIN", "__MACOSX", "@eaDir", "north/.hidden"):
        (folder / name).mkdir(parents=True)
        (folder / name / "9.png").write_bytes(picture(9))
        memory.pipe(f"/bucket/systems/{name}/9.png", picture(9))
    memory.pipe("/bucket/systems/north/2.png", picture(2))
    for name in ("DICOMDIR", "VERSION", "LOCKFILE", "Makefile"):
        (folder / name).write_bytes(b"x")
    assert [item.key for item in items(source(folder))] == ["0.png", "1.png", "north/2.png"]
    try:
        assert [item.key for item in items(source("memory://bucket/systems"))] == ["north/2.png"]
    finally:
        memory.rm("/bucket/systems", recursive=True)


def test_a_folder_tells_which_folder_an_image_lies_in(folder: Path, bucket: str) -> None:
    assert [item.data for item in items(source(folder))] == [{}, {}, {"folder": "north"}]
    assert [item.key for item in items(source(bucket))] == ["0.png", "1.png", "2.png", "north/3.png"]


# Tables


def test_the_folder_of_a_dicom_file_says_not_who_the_patient_is(folder: Path) -> None:
    for name in ("DOE^JANE/1.dcm", "DOE^JANE/series/IM0001", "ROE^RICHARD/2.dcm", "ROE^RICHARD/1.2.840.7"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    found = {item.key: item.data.get("folder") for item in items(source(folder))}
    assert "north" in found.values()
    own = {key: value for key, value in found.items() if "DOE" in key or "ROE" in key}
    assert not any("DOE" in str(value) or "ROE" in str(value) for value in own.values())
    assert own["ROE^RICHARD/2.dcm"] == own["ROE^RICHARD/1.2.840.7"] != own["DOE^JANE/1.dcm"]
    assert len(set(own.values())) == 3


def test_a_table_is_read_again_only_when_it_moved(folder: Path) -> None:
    path = write_csv(folder / "pool.csv", ROWS[:2])
    found = source(path)
    listing = found.list()
    assert listing is not None
    assert listing.complete
    assert found.list(listing.watermark) is None
    write_csv(path, ROWS)
    assert len(items(found, listing.watermark)) == 3


def test_delimiters_and_names_of_the_image_column(folder: Path) -> None:
    for delimiter in ",;\t|":
        assert len(items(source(write_csv(folder / "pool.csv", ROWS, delimiter)))) == 3
    renamed = [{("scan" if k == "path" else k): v for k, v in row.items()} for row in ROWS]
    path = write_csv(folder / "pool.csv", renamed)
    assert len(items(source(path, image="scan"))) == 3
    with pytest.raises(SourceError, match=r"which column.*scan, site.*--image"):
        items(source(path))
    with pytest.raises(SourceError, match=r"no column 'picture'"):
        items(source(path, image="picture"))


def test_a_bad_row_costs_only_itself(folder: Path) -> None:
    (folder / "pool.csv").write_text("path,site\n0.png,a\n,b\n1.png\n1.png,c\n")
    problems = [item.problem for item in items(source(folder / "pool.csv"))]
    assert problems == [
        None,
        "row 2 has no text in its column 'path'",
        "row 3: 1 value for 2 columns",
        None,
    ]
    (folder / "pool.jsonl").write_text('{"path": "0.png"}\n{"path": \n[1]\n{"path": 5}\n{"path": "1.png"}\n')
    listed = items(source(folder / "pool.jsonl"))
    assert [item.problem is None for item in listed] == [True, False, False, False, True]
    assert "no JSON" in (listed[1].problem or "")
    (folder / "pool.jsonl").write_text(f'[\n{{"path": "0.png"}},\n{{"path": "file://{folder}/1.png"}}\n]\n')
    pool = source(folder / "pool.jsonl")
    assert [item.problem or bool(pool.read(item)) for item in items(pool)] == [True, True]


def test_images_that_stand_in_a_table_themselves_are_named_with_the_fix(folder: Path) -> None:
    (folder / "pool.csv").write_text(f"image,site\n0.png,a\n{'iVBO' * 2000},b\n")
    used, inside = items(source(folder / "pool.csv"))
    assert used.problem is None
    assert (inside.key, dict(inside.data)) == ("row 2", {"site": "b"})
    assert "row 2 has 8,000 characters in its column 'image', which is no path" in (inside.problem or "")


@pytest.mark.parametrize(
    "table",
    [
        b"\n \npath,site\n0.png,a\n1.png,b\n",
        b"sep=;\r\npath;site\r\n0.png;a\r\n1.png;b\r\n",
        "path\tsite\r\n0.png\ta\r\n1.png\tb\r\n".encode("utf-16"),
        b"\xef\xbb\xbf path , site \n0.png,a,,\n,\n1.png,b\n,,,\n",
        b'"path","site"\r0.png,a\r1.png,b\r',
        b"path,site\npath,site\n0.png,a\n path, site\n1.png,b\n",
        b"# of 2020\n# by a, b, c\npath,site\n0.png,a\n1.png,b\n",
        b"#,path,site\n,0.png,a\n,1.png,b\n",
        b"Export of 2024-05-01;;;\n\npath;site\n0.png;a\n1.png;b\n",
        b'"Export, of 2024-05-01"\nwritten by x\npath,site\n0.png,a\n1.png,b\n',
    ],
    ids=[
        "empty lines first",
        "sep=",
        "UTF-16",
        "empty cells",
        "old Macintosh",
        "header again",
        "comments first",
        "no comment",
        "title",
        "two titles",
    ],
)
def test_tables_as_spreadsheets_save_them(table: bytes, folder: Path) -> None:
    (folder / "pool.csv").write_bytes(table)
    listed = items(source(folder / "pool.csv"))
    assert [(item.image, dict(item.data)) for item in listed] == [
        ("0.png", {"site": "a"}),
        ("1.png", {"site": "b"}),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["Size, cm", "Weight; kg", "n|m", "of Alt\nEnter"])
def test_names_with_separators_and_cells_with_line_breaks_are_what_they_are(
    name: str, separator: str, folder: Path
) -> None:
    rows = [[name, "path"], *([f"one\ntwo, {number}", f"{number}.png"] for number in range(4))]
    with (folder / "pool.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(rows)
    listed = items(source(folder / "pool.csv"))
    assert [[*item.data.values(), item.image] for item in listed] == rows[1:]


def test_the_image_column_is_found_from_many_rows_and_rows_without_one_are_named(folder: Path) -> None:
    first = {"site": "a"}, {"path": "0.png", "site": "b"}, {"path": "1.png"}
    lines = "\n".join(map(json.dumps, first))
    tables = {
        "pool.jsonl": lines.encode(),
        "list.jsonl": json.dumps(first).encode(),
        "mark.jsonl": b"\xef\xbb\xbf" + lines.encode(),
        "wide.jsonl": lines.encode("utf-16"),
        "pool.csv": b"path,site\n,a\n0.png,b\n1.png,\n",
        "wide.csv": "path;site\r\n;a\r\n0.png;b\r\n1.png;\r\n".encode("utf-16-le"),  # without a mark
        "empty.csv": b"image,path,site\n,,a\n,0.png,b\n,1.png,\n",
    }
    for name, content in tables.items():
        (folder / name).write_bytes(content)
        for image in (None, "path"):
            listed = items(source(folder / name, image=image))
            assert [(item.image, dict(item.data)) for item in listed] == [
                ("", {"site": "a"}),
                ("0.png", {"site": "b"}),
                ("1.png", {}),
            ], name
            assert "row 1 has no text in its column 'path'" in str(listed[0].problem)
    (folder / "list.jsonl").write_text('[{"path": "0.png"}, {"site": "a"}, 7, {"path": "1.png"}]')
    assert [item.key for item in items(source(folder / "list.jsonl"))] == ["0.png", "row 2", "row 3", "1.png"]
    arrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    rows = [{"image": None, "path": None, "note": None}, {"image": None, "path": "0.png", "note": None}]
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "pool.parquet")
    assert [item.image for item in items(source(folder / "pool.parquet"))] == ["", "0.png"]
    raw = [{"image": {"bytes": b"x", "path": "0.png"}}]
    parquet.write_table(arrow.Table.from_pylist(raw), folder / "raw.parquet")
    with pytest.raises(SourceError, match="'image' holds the images themselves: write them as files"):
        items(source(folder / "raw.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "pool.csv",
            b"PK\x03\x04 workbook",
            r"a spreadsheet \(.xlsx\) or .*: save the table as CSV \(UTF-8\)",
        ),
        ("pool.jsonl", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"a workbook of Excel \(.xls\)"),
        ("pool.csv", b" <html><table><tr><td>path", "a web page"),
        (
            "headless.jsonl",
            b'{"0.png": 1}',
            "which column names the image.*put a line above the first that names",
        ),
        ("pool.csv", b"PAR1 ... PAR1", "name it .parquet"),
        ("pool.parquet", b"path,site\n0.png,a\n", "no Parquet file, whatever its name says"),
        ("pool.jsonl", b"path,site\n0.png,a\n", "none of its 2 rows can be read; row 1: no JSON"),
        (
            "pool.jsonl",
            b'[\n {\n  "path": "0.png"\n }\n]\n',
            r"one object a line is read \(jq -c '\.\[\]' FILE",
        ),
        ("pool.jsonl", b'{"image": {"path": "0.png"}}', "'image' holds nested values, such as .*as text"),
        (
            "pool.jsonl",
            b'{"id": 1, "data": {"image": "0.png"}}',
            r"in 'data' flat, one a line \(jq -c '\.data'\)",
        ),
    ],
)
def test_a_table_of_another_kind_than_its_name_says_is_refused_with_the_fix(
    name: str, content: bytes, words: str, folder: Path
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(SourceError, match=words):
        items(source(folder / name))
    if name.endswith(".csv"):
        with pytest.raises(UsageError, match=words):
            read_table(folder / name)


@pytest.mark.parametrize("rest", ["", '6.png,"f",9\n'], ids=["to the end", "to the next one"])
def test_a_quotation_mark_that_is_not_closed_costs_its_own_row(rest: str, folder: Path) -> None:
    text = 'path,site,note\n0.png,a,"two\n\nlines, ""quoted"""\n1.png,b,5" wide\n2.png,"b,6\n3.png,c,\n'
    text += '4.png,d,"7\n5.png,e,8\n'
    (folder / "pool.csv").write_text(text + rest)
    listed = items(source(folder / "pool.csv"))
    assert [item.image for item in listed if item.problem is None][:4] == ["0.png", "1.png", "3.png", "5.png"]
    assert listed[0].data["note"] == 'two\n\nlines, "quoted"'
    assert [item.problem for item in listed if item.problem] == [
        f"row {number}: a quotation mark is not closed" for number in (3, 5)
    ]
    with pytest.raises(
        UsageError, match=r"^--metadata: 2 rows of .*: row 3: a quotation mark is not closed; row 5: "
    ):
        read_table(folder / "pool.csv")  # as `cdsel simulate` does, where vectors may stand beside the rows


def test_a_backtest_has_all_rows_of_a_table_or_none(folder: Path) -> None:
    path = folder / "t.csv"
    path.write_text("Export of 2024-05-01,,\npath,site,note\n0.png,a\n,,\n\n1.png,b,x,\n2.png,c,\n")
    assert read_table(path) == [
        {"path": "0.png", "site": "a", "note": ""},
        {"path": "", "site": "", "note": ""},
        {"path": "1.png", "site": "b", "note": "x"},
        {"path": "2.png", "site": "c", "note": ""},
    ]
    path.write_text("path,site\n" + "0.png,a, b\n" * 5)
    with pytest.raises(
        UsageError, match=r"row 1: 3 values for 2 columns; .*; and 2 more rows\. Correct them"
    ):
        read_table(path)


TABLES = {
    "pool.csv": b"path,site\n0.png,a\n1.png,b\n",
    "pool.tsv": "path\tsite\n0.png\ta\n1.png\tb\n".encode("utf-16"),
    "pool.jsonl": b'{"path": "0.png", "site": "a"}\n{"path": "1.png", "site": "b"}\n',
    "POOL.NDJSON": b'{"path": "0.png", "site": "a"}\n\n{"path": "1.png", "site": "b"}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_compressed_by_gzip_are_read(
    name: str, folder: Path, bucket: str, store: Store, tmp_path: Path
) -> None:
    packed = gzip.compress(TABLES[name])
    wanted = [("0.png", {"site": "a"}), ("1.png", {"site": "b"})]
    # As browsers unpack what they download, and the other way round.
    written = {f"{name}.gz": packed, f"twice-{name}.gz": packed + gzip.compress(b"\n"), name: packed}
    written[f"plain-{name}.gz"] = TABLES[name]
    if "tsv" in name:
        written.pop(f"twice-{name}.gz")
    for file, content in written.items():
        (folder / file).write_bytes(content)
        fsspec.filesystem("memory").pipe(f"/bucket/scans/{file}", content)
        for place in (folder, bucket):
            listed = items(source(f"{place}/{file}"))
            assert [(item.image, dict(item.data)) for item in listed] == wanted, f"{place}/{file}"
    project = store.connect_project("http://studio", 1, layers={})
    kept = store.add_source(project, str(folder / f"{name}.gz"), {})
    assert list(take_in(store, kept, tmp_path))[-1] == (2, 2, 0)
    assert decode(source(folder / f"{name}.gz").read(at("0.png"))).size == (24, 16)
    # One that is cut short loses nothing.
    (folder / f"{name}.gz").write_bytes(packed[:-9])
    with pytest.raises(SourceError, match="cut short or damaged; write the file again"):
        list(take_in(store, kept, tmp_path, again=True))
    assert not any(item.gone for item in store.items(project))


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("pool.xlsx", "save the sheet as CSV"),
        ("Pool.XLS", "save the sheet as CSV"),
        ("images.zip", "unpack it, and name the folder, or the table in it"),
        ("pool.csv.zip", "unpack it, and name the folder, or the table in it"),
        ("images.tar.gz", "unpack it, and name the folder"),
        ("pool.csv.xz", r"compress the table by gzip \(\.csv\.gz\)"),
        ("pool.parquet.gz", "gunzip"),
        ("pool.json", r"\(\.jsonl\)"),
        ("notes.txt", "name a .csv"),
    ],
)
def test_what_is_no_table_is_refused_with_the_fix(name: str, fix: str, folder: Path, bucket: str) -> None:
    (folder / name).write_bytes(b"PK")
    fsspec.filesystem("memory").pipe(f"/bucket/scans/{name}", b"PK")
    for place in (folder, bucket):
        with pytest.raises(SourceError, match=f"{name} is no source: .*{fix}"):
            source(f"{place}/{name}")
    (folder / f"folder-{name}").mkdir()
    assert items(source(folder / f"folder-{name}")) == []  # whatever a folder is called


def test_an_image_in_two_rows_counts_once_and_what_disagrees_is_named(
    folder: Path, store: Store, tmp_path: Path, monkeypatch
) -> None:
    project = store.connect_project("http://studio", 1, layers={})
    kept = store.add_source(project, str(folder / "pool.csv"), {})
    (folder / "pool.csv").write_text("path,site\n0.png,a\n0.png,a\n1.png,a\n0.png,b\n")
    for size in (500, 2):  # in one transaction, and in several
        monkeypatch.setattr("cdsel_backend.store.sources.PART", size)
        list(take_in(store, kept, tmp_path, again=True))
        found = [(item.key, item.data, item.problem is None) for item in store.items(project)]
        assert found == [
            ("0.png", {"site": "a"}, True),
            ("1.png", {"site": "a"}, True),
            ("0.png (again)", {"site": "b"}, False),
        ]
    assert "listed again with other values: give it one row" in str(store.items(project)[-1].problem)
    (folder / "pool.csv").write_text("path,site,age,site\n0.png,a,1,b\n")
    with pytest.raises(SourceError, match="header names 'site' more than once: rename"):
        items(source(folder / "pool.csv"))


def test_what_is_added_twice_or_is_not_what_was_meant_is_named(folder: Path, tmp_path_factory) -> None:
    """A folder beside the table of it; a link to either; a table without rows; a name that is misspelt."""
    server = ServerSettings(data_dir=tmp_path_factory.mktemp("data"))
    store = Store.open(server)
    store.connect_project("http://studio", 7, label_config=LABEL_CONFIG, backbone="b")
    links = tmp_path_factory.mktemp("links")
    (links / "study").symlink_to(folder)
    (links / "empty.csv").write_text("path,site\n")
    write_csv(folder / "pool.csv", [{**row, "path": f"./{row['path']}"} for row in ROWS[1:]])

    def add(address: Path) -> str:
        command = ["pool", "add", "--project", "7", str(address)]
        return CliRunner().invoke(main, command, env={"CDSEL_DATA_DIR": str(server.data_dir)}).output

    said = add(folder)
    assert "pool.csv in that folder: the columns of a table are variables only where the table itself" in said
    assert "twice" not in said
    said = add(folder / "pool.csv")
    assert (
        f"2 images of it, such as ./1.png, are in the source {folder}, too, and so in the pool twice" in said
    )
    assert "in that folder" not in add(folder)
    assert f"3 images of it, such as 0.png, are in the source {folder}, too" in add(links / "study")
    assert "1 image of it, such as 2.png, is in the source" in add(links / "study/north")
    for site in ("a", "b"):
        (links / "parts" / f"site={site}").mkdir(parents=True)
        (links / "parts" / f"site={site}" / "part-0.parquet").touch()
    said = add(links / "parts")
    assert "site=a/part-0.parquet, site=b/part-0.parquet in that folder" in said
    assert "A table in parts: write it as one file (in Python" in said
    assert "The table has no rows." in add(links / "empty.csv")
    assert "there is no such file or folder; see its name, and that it is mounted" in add(folder / "nroth")
    store.close()


def test_a_source_that_is_added_again_is_read_again(folder: Path, tmp_path_factory) -> None:
    """As after the folder of a table was named, a right to read was given, or another frame was chosen."""
    server = ServerSettings(data_dir=tmp_path_factory.mktemp("data"))
    store = Store.open(server)
    project = store.connect_project("http://studio", 7, label_config=LABEL_CONFIG, backbone="b")
    table = write_csv(tmp_path_factory.mktemp("tables") / "pool.csv", [*ROWS, {**ROWS[0], "path": " "}])

    def add(*options: str) -> str:
        command = ["pool", "add", "--project", "7", *options, str(table)]
        done = CliRunner().invoke(main, command, env={"CDSEL_DATA_DIR": str(server.data_dir)})
        assert done.exit_code == 0
        return done.output

    def due() -> int:
        return len(store.without_vector(project, limit=9, now=time.time()))

    said = add()
    assert "None of the first 3 images can be read: 0.png: there is no such file in" in said
    assert "with --root FOLDER" in said
    read = {item.key: item.id for item in store.items(project) if item.problem is None}
    store.note_unusable([(item, "there is no such file", time.time() + 600) for item in read.values()])
    assert due() == 0
    assert "None of" not in add("--root", str(folder))
    assert due() == 3
    store.add_vectors("b", [(item, f"{item:064}", np.ones(4)) for item in list(read.values())[:2]])
    store.note_unusable([(read["north/2.png"], "refused", time.time() + 600)])
    add("--root", str(folder))
    assert due() == 1
    add("--root", str(folder), "--frame", "2")
    assert due() == 3
    assert store.embedding_progress(project) == (0, 1, 4)
    assert [item.problem for item in store.items(project)][3] == "row 4 has no text in its column 'path'"
    store.close()


def test_a_source_that_lists_nothing_any_more_loses_nothing(
    folder: Path, store: Store, tmp_path: Path
) -> None:
    """As a share that is not mounted, or a table that is being written anew."""
    project = store.connect_project("http://studio", 1, layers={})
    path = write_csv(tmp_path / "pool.csv", ROWS)
    kept = store.add_source(project, str(path), {})
    assert list(take_in(store, kept, tmp_path))[-1] == (3, 3, 0)
    path.write_text("path,site\n")
    with pytest.raises(SourceError, match="lists no image, where it had 3: see that it is mounted"):
        list(take_in(store, kept, tmp_path))
    assert not any(item.gone for item in store.items(project))


def test_a_table_that_is_written_while_it_is_read_loses_nothing(
    folder: Path, store: Store, tmp_path: Path, monkeypatch
) -> None:
    """As by a nightly export: half of the images would leave the pool and the queue."""
    monkeypatch.setattr("cdsel_backend.store.sources.PART", 1)
    project = store.connect_project("http://studio", 1, layers={})
    path = write_csv(tmp_path / "pool.csv", ROWS)
    kept = store.add_source(project, str(path), {})
    assert list(take_in(store, kept, tmp_path))[-1] == (3, 3, 0)
    write_csv(path, ROWS[:1])
    steps = take_in(store, kept, tmp_path, again=True)
    assert next(steps) == (1, 0, 0)
    write_csv(path, ROWS[:2])
    with pytest.raises(
        SourceError, match=r"pool.csv: it was written while it was read; see that it is whole"
    ):
        list(steps)
    assert not any(item.gone for item in store.items(project))
    write_csv(path, ROWS[1:])
    list(take_in(store, kept, tmp_path, again=True))
    assert [item.gone for item in store.items(project)] == [True, False, False]


def test_an_address_means_the_same_wherever_the_worker_runs(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    for address, whole in (
        ("pool.csv", f"{tmp_path}/pool.csv"),
        (".", str(tmp_path)),
        ("~/pool.csv", "/home/ann/pool.csv"),
        ("file:///data/a/", "/data/a"),
        ("file:///data/a%20b", "/data/a b"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("S3://bucket/a/", "s3://bucket/a"),  # or its images would be in the pool twice
        ("https://x.org/a.csv", "https://x.org/a.csv"),
    ):
        assert whole_address(address) == whole


def test_tables_that_are_none_are_refused_with_the_fix(folder: Path) -> None:
    for name, content, words in (
        ("empty.csv", b"", "empty"),
        ("latin.csv", "path,ort\n0.png,Köln\n".encode("latin-1"), "UTF-8"),
        ("text.parquet", b"no parquet at all", "cannot be read"),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(SourceError, match=words):
            items(source(folder / name))
    with pytest.raises(SourceError, match=r"none\.csv: there is no such file; see its name"):
        items(source(folder / "none.csv"))
    with pytest.raises(SourceError, match="no such file or folder"):
        source(folder / "none")
    with pytest.raises(SourceError, match="no-such-scheme"):
        source("no-such-scheme://bucket/a")


def test_a_table_at_the_root_of_the_file_system_is_not_sought_here(folder: Path, monkeypatch) -> None:
    """As one that is mounted into a container; it was sought in the folder that the command was given in."""
    write_csv(folder / "at-the-root.csv", ROWS)
    monkeypatch.chdir(folder)
    assert len(items(source("at-the-root.csv"))) == len(ROWS)
    with pytest.raises(SourceError, match=r"^/at-the-root\.csv: there is no such file"):
        items(source("/at-the-root.csv"))
    assert folder_and_name("/at-the-root.csv") == ("/", "at-the-root.csv")
    assert image_folder("/at-the-root.csv", SourceOptions()) == "/"


def test_images_may_lie_elsewhere_than_the_table(folder: Path, bucket: str, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("tables")
    found = source(write_csv(other / "pool.csv", ROWS), root=str(folder))
    assert decode(found.read(items(found)[2])).size == (24, 16)
    rows = [
        {"path": "memory://bucket/scans/0.png", "site": "a"},
        {"path": "https://x.org/a.png", "site": "b"},
    ]
    found = source(write_csv(other / "far.csv", rows), root=bucket)
    near, web = items(found)
    assert decode(found.read(near)).size == (24, 16)
    assert found.annotator_address(web) == "https://x.org/a.png"
    without = source(write_csv(other / "far.csv", rows))
    with pytest.raises(UnreadableImage, match="--root"):
        without.read(near)


def test_a_table_of_many_rows_is_read_row_by_row(folder: Path) -> None:
    with (folder / "large.csv").open("w") as file:
        file.write("path,site,age\n")
        file.writelines(f"{n}.png,{n % 7},{n % 90}\n" for n in range(200_000))
    listing = source(folder / "large.csv").list()
    assert listing is not None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in listing.items) == 200_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


# DICOM


def test_dicom_files_bring_variables_and_a_chosen_frame(folder: Path) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from test_dicom import draw

    frames = np.stack([np.full((4, 4), value, dtype=np.uint8) for value in (10, 20, 30)])
    fields = {"PatientName": "Doe^Jane", "PatientSex": "F", "WindowCenter": 128, "WindowWidth": 256}
    (folder / "IM0001").write_bytes(draw(frames, **fields))
    (folder / "burned.dcm").write_bytes(draw(frames, BurnedInAnnotation="YES"))
    found = source(folder)
    by_key = {item.key: item for item in items(found)}
    assert {"IM0001", "burned.dcm"} <= by_key.keys()
    told = found.describe(by_key["IM0001"])
    assert (told["PatientSex"], told["NumberOfFrames"]) == ("F", 3)
    assert "Jane" not in repr(told)
    assert np.asarray(decode(found.read(at("IM0001")))).mean() == 20
    assert np.asarray(decode(source(folder, frame=2).read(at("IM0001")))).mean() == 30
    with pytest.raises(UnreadableImage, match="--burned-in"):
        found.read(at("burned.dcm"))
    assert source(folder, burned_in=True).read(at("burned.dcm"))
    table = folder / "scans.csv"
    table.write_text("path,site\nIM0001,a\n")
    assert source(table).describe(items(source(table))[0])["PatientSex"] == "F"


def test_dicom_files_on_the_web_are_read_as_those_of_a_folder(store: Store, monkeypatch) -> None:
    """A table may name addresses of a WADO server: who the patient is must not reach annotators from there, either."""
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from test_dicom import draw

    frames = np.stack([np.full((4, 4), value, dtype=np.uint8) for value in (10, 20, 30)])
    project = store.connect_project("http://studio", 1, label_config=LABEL_CONFIG, layers={})
    address = "https://pacs.example.org/wado?requestType=WADO&contentType=application/dicom"
    served = draw(frames, BurnedInAnnotation="YES", WindowCenter=128, WindowWidth=256)
    monkeypatch.setattr("cdsel_backend.labelstudio.images.ImageReader.read", lambda *given: served)

    def read(options: SourceOptions) -> bytes:
        kept = store.add_source(project, "/data/pool.csv", options.to_json())
        pool = ProjectPool(LabelStudio("http://127.0.0.1:9", "token"), State(store, project))
        return pool.read(OutsideItem(address, address, {}, source=kept.id))

    with pytest.raises(UnreadableImage, match=r"wado\?.*shows who the patient is.*--burned-in"):
        read(SourceOptions())
    assert np.asarray(decode(read(SourceOptions(burned_in=True, frame=2)))).mean() == 30


def test_what_a_header_says_is_asked_once_and_again_where_it_could_not_be_read(
    folder: Path, store: Store, tmp_path: Path, monkeypatch
) -> None:
    """As of a file that its account may not read yet; one whose storage is away for a moment ends the listing."""
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from test_dicom import RAMP, draw

    for name in ("IM1", "IM2"):
        (folder / name).write_bytes(draw(RAMP, PatientSex="F", PatientID="7"))
    (folder / "pool.csv").write_text("path,site\nIM1,a\nIM2,b\n")
    project = store.connect_project("http://studio", 1, layers={})
    locked, asked = {"IM1"}, []
    opened = Files.open

    def open_(files: Files, path: str, part: int | None = None):
        if path.startswith("IM"):
            asked.append(path)
        if path in locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(files, path, part)

    monkeypatch.setattr(Files, "open", open_)
    for address in (folder, folder / "pool.csv"):
        locked.add("IM1")
        kept = store.add_source(project, str(address), {})

        def listed(kept: Source = kept) -> tuple[dict[str, object], list[str]]:
            asked.clear()
            store.note_listing(kept.id, "")  # the table moved
            list(take_in(store, store.source(kept.id), tmp_path))
            found = {row.key: row for row in store.items(project) if row.source == kept.id}
            return {name: found[name].data.get("PatientSex") for name in ("IM1", "IM2")}, sorted(asked)

        assert listed() == ({"IM1": None, "IM2": "F"}, ["IM1", "IM2"])
        assert listed() == ({"IM1": None, "IM2": "F"}, ["IM1"])
        locked.clear()
        assert listed() == ({"IM1": "F", "IM2": "F"}, ["IM1"])
        assert listed() == ({"IM1": "F", "IM2": "F"}, [])

    # The data folder was lost, and with it the secret of the hashes: a patient has one name all the same.
    before = {row.id: row.data["PatientID"] for row in store.items(project) if row.key in ("IM1", "IM2")}
    (tmp_path / KEY_FILE).unlink()
    (folder / "IM3").write_bytes(draw(RAMP, PatientID="7"))
    for kept in store.sources(project):
        list(take_in(store, kept, tmp_path))
    found = {
        row.id: row.data["PatientID"] for row in store.items(project) if row.key in ("IM1", "IM2", "IM3")
    }
    assert len(set(before.values())) == len(set(found.values())) == 1
    assert before.items().isdisjoint(found.items())

    locked.add("IM1")
    far = Files("memory://bucket", key=KEY, max_bytes=0, options=SourceOptions())
    monkeypatch.setattr("cdsel_backend.sources.files.trouble_of", lambda error: Trouble.AWAY)
    with pytest.raises(SourceError, match=r"memory://bucket .*Permission denied"):
        far.describe("IM1")


def test_headers_in_a_bucket_are_read_several_at_once(store: Store, tmp_path: Path, monkeypatch) -> None:
    """One after the other, each with its wait, 100,000 would take hours."""
    memory, together = fsspec.filesystem("memory"), threading.Barrier(8, timeout=60)
    for number in range(16):
        memory.pipe(f"/bucket/headers/IM{number}", b"x")

    def describe(files: Files, path: str) -> dict[str, str]:
        together.wait()  # for seven others
        return {"PatientSex": path}

    monkeypatch.setattr(Files, "describe", describe)
    project = store.connect_project("http://studio", 1, layers={})
    try:
        list(take_in(store, store.add_source(project, "memory://bucket/headers", {}), tmp_path))
    finally:
        memory.rm("/bucket/headers", recursive=True)
    assert all(item.data["PatientSex"] == item.key for item in store.items(project))
    assert len(store.items(project)) == 16


# The hostile folder


def huge_png(side: int) -> bytes:
    """A PNG of side x side pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    packed = zlib.compressobj()
    row = bytes(1 + side // 8)
    body = b"".join(packed.compress(row * 100) for _ in range(side // 100)) + packed.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    folder = tmp_path / "hostile"
    folder.mkdir()
    out = io.BytesIO()
    plain = Image.open(io.BytesIO(picture(1, (64, 48))))
    (folder / "good.png").write_bytes(picture(1))
    (folder / "truncated.jpg").write_bytes(picture(2, (200, 200), "JPEG")[:800])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "huge.png").write_bytes(huge_png(60_000))
    plain.save(folder / "animated.gif", save_all=True, append_images=[plain.rotate(90), plain.rotate(180)])
    plain.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 20).save(folder / "deep.png")
    plain.convert("P").save(folder / "palette.png")
    exif = plain.getexif()
    exif[0x0112] = 6
    plain.save(folder / "turned.jpg", exif=exif)
    plain.save(out, "WEBP")
    (folder / "webp.png").write_bytes(out.getvalue())
    (folder / "text.jpg").write_text("this is no picture at all")
    (folder / "page.png").write_text("<!DOCTYPE html><html>please log in</html>")
    (folder / "circle").symlink_to(folder)
    (folder / "loop.png").symlink_to(folder / "loop2.png")
    (folder / "loop2.png").symlink_to(folder / "loop.png")
    (folder / "nothing.png").symlink_to(folder / "gone.png")
    (folder / "inside.png").symlink_to(folder / "good.png" / "a.png")
    (folder / "out.png").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe.png")
    unix = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(folder)  # a socket's path has a short limit
    unix.bind("socket.png")
    os.chdir(here)
    unix.close()
    (folder / "folder.png").mkdir()
    (folder / "locked").mkdir()
    (folder / "locked" / "a.png").write_bytes(picture(3))
    (folder / "locked").chmod(0)
    (folder / "unreadable.png").write_bytes(picture(4))
    (folder / "unreadable.png").chmod(0)
    (folder / ".hidden.png").write_bytes(picture(5))
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "study.zip").write_bytes(b"PK")
    (folder / "photo.HEIC").write_bytes(b"x")
    (folder / "näme with späces ü.png").write_bytes(picture(6))
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and modes are those of POSIX")
def test_a_hostile_folder_is_listed_with_reasons_in_bounded_memory(hostile: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = source(hostile)
    reasons: dict[str, str | None] = {}
    for item in items(found):
        reasons[item.key] = item.problem
        if item.problem is None:
            try:
                decode(found.read(item))
            except UnreadableImage as fault:
                reasons[item.key] = str(fault)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    used = {name for name, reason in reasons.items() if reason is None}
    fine = {
        "good.png",
        "animated.gif",
        "cmyk.jpg",
        "deep.png",
        "palette.png",
        "turned.jpg",
        "webp.png",
        "näme with späces ü.png",
    }
    open_to_all = os.geteuid() == 0  # to the administrator nothing is unreadable
    assert used == fine | ({"unreadable.png", "locked/a.png"} if open_to_all else set())
    for name, words in {
        "truncated.jpg": "truncated",
        "empty.jpg": "0 bytes",
        "study.zip": "an archive is not read: unpack it",
        "photo.HEIC": "export it as JPEG or PNG",
        "huge.png": "too large",
        "text.jpg": "not an image",
        "page.png": "web page",
        "circle": "circle",
        "loop.png": "circle",
        "loop2.png": "circle",
        "nothing.png": "nothing",
        "inside.png": "nothing",
        "out.png": "leads out",
        "pipe.png": "no file",
        "socket.png": "no file",
        **({} if open_to_all else {"unreadable.png": "denied", "locked": "denied"}),
    }.items():
        assert words in (reasons[name] or ""), (name, reasons[name])
    assert ".hidden.png" not in reasons
    assert grown < 150_000  # KB: nothing of 60,000 x 60,000 pixels was ever in memory


# Rows and names that one source may hold, and that must not cost it the others


def test_a_file_name_that_is_no_utf8_is_named_and_costs_only_itself(folder: Path) -> None:
    """As of archives that were made on systems with other alphabets."""
    try:
        (folder / os.fsdecode(b"Aufnahme\xe9.png")).write_bytes(picture(5))
        (folder / os.fsdecode(b"Mappe\xe9")).mkdir()
        (folder / os.fsdecode(b"Mappe\xe9/6.png")).write_bytes(picture(6))
    except OSError:
        pytest.skip("this file system refuses such names")
    found = {item.key: item.problem for item in items(source(folder))}
    for key in ("Aufnahme\\udce9.png", "Mappe\\udce9/6.png"):
        assert "no text in UTF-8: rename it" in (found.pop(key) or "")
    assert found == dict.fromkeys(("0.png", "1.png", "north/2.png"))
    json.dumps([item.key for item in items(source(folder))]).encode()


def test_a_row_that_is_none_costs_only_itself(folder: Path) -> None:
    """An unclosed quotation mark before more text than a cell may hold; NUL; half a pair; too deep a nesting."""
    csv_file, json_file = folder / "pool.csv", folder / "pool.jsonl"
    csv_file.write_text(f'path,site\n0.png,a\nx,"{"text " * 40_000}\n1.png,b\0c\n')
    listed = items(source(csv_file))
    assert [(item.image, item.data.get("site")) for item in listed if item.problem is None] == [
        ("0.png", "a"),
        ("1.png", "b\ufffdc"),
    ]
    assert "row 2: the cell of column 'site' has more than 131,072 characters" in str(listed[1].problem)
    json_file.write_text(
        '{"path": "0.png", "note": "half \\ud800", "more": {"b\\u0000": [NaN, "\\ud800"]}}\n'
        + f'{{"path": "1.png", "deep": {"[" * 100_000}}}\n'
        + '{"path": "north/2.png"}\n'
    )
    listed = items(source(json_file))
    assert [item.problem is None for item in listed] == [True, False, True]
    assert dict(listed[0].data) == {"note": "half \ufffd", "more": {"b\ufffd": [None, "\ufffd"]}}
    nested, long = f"{'[' * 300}1{']' * 300}", json.dumps("x" * 140_000)
    json_file.write_text(
        f'{{"path": "0.png", "a": {nested}}}\n{{"path": "0.png", "b": {long}}}\n{{"path": "1.png"}}\n'
    )
    listed = items(source(json_file))
    assert [item.problem is None for item in listed] == [False, False, True]
    assert "nested more than 64 deep" in str(listed[0].problem)
    assert "'b' has more than 131,072 characters" in str(listed[1].problem)


@pytest.mark.parametrize("name", ["pool.csv", "pool.jsonl"])
def test_a_line_without_an_end_does_not_fill_the_memory(name: str, folder: Path, monkeypatch) -> None:
    """A file whose end is a gap of zeros, and a small one that unpacks to much."""
    monkeypatch.setattr("cdsel_backend.table.LONGEST_LINE", 2**20)
    first = b"path,site\n0.png,a\n" if name.endswith("csv") else b'{"path": "0.png"}\n'
    (folder / name).write_bytes(first)
    os.truncate(folder / name, 2**30)
    with pytest.raises(SourceError, match=r"more than 1,048,576 characters, all zeros: it was not copied"):
        items(source(folder / name))
    with gzip.open(folder / f"{name}.gz", "wb", 1) as file:
        file.write(first + b"x" * 2**22)
    tracemalloc.start()
    with pytest.raises(SourceError, match=r"more than 1,048,576 characters: it is no table"):
        items(source(folder / f"{name}.gz"))
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_values_inside_others_are_as_plain_as_those_outside(folder: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    day = datetime.date(2020, 1, 31)
    rows = [
        {
            "path": "0.png",
            "study": {"day": day, "raw": b"x", "dose": Decimal("1.5"), "days": [day]},
            "raw": b"x",
        }
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "pool.parquet")
    (item,) = items(source(folder / "pool.parquet"))
    assert dict(item.data) == {"study": {"day": "2020-01-31", "dose": 1.5, "days": ["2020-01-31"]}}
    json.dumps(dict(item.data))


def test_paths_of_a_table_made_on_windows_are_found(folder: Path) -> None:
    write_csv(folder / "pool.csv", [{"path": "north\\2.png"}])
    found = source(folder / "pool.csv")
    (item,) = items(found)
    assert decode(found.read(item)).size == (24, 16)
    with pytest.raises(UnreadableImage):
        found.read(at("..\\secret.png"))


@pytest.mark.parametrize("kept", ["NFC", "NFD"])
def test_paths_of_a_table_made_on_a_mac_are_found(kept: str, folder: Path) -> None:
    """There the ü of a file is two characters, and one in most tables."""
    (folder / unicodedata.normalize(kept, "M\u00fcller.png")).write_bytes(picture(1))
    found = source(
        write_csv(folder / "pool.csv", [{"path": "M\u00fcller.png"}, {"path": "Mu\u0308ller.png"}])
    )
    assert [decode(found.read(item)).size for item in items(found)] == [(24, 16)] * 2


def test_names_without_an_ending_and_with_one_in_other_letters_are_found(folder: Path) -> None:
    """As the ids of many published tables, and files that a camera or a scanner named."""
    for name in ("ISIC_1.jpg", "two.png", "two.jpg", "X.PNG", "a.b.tif"):
        (folder / name).write_bytes(picture(1))
    (folder / "V.1").mkdir()
    (folder / "V.1" / "one").write_bytes(picture(1))
    (folder / "u\u0308.jpg").write_bytes(picture(1))
    names = ["ISIC_1", "0", "x.png", "X.png", "a.b", "north/2", "two", "three"]
    names += ["north\\2", "v.1/ONE", "v.1/one", "\u00fc", "\u00fc.JPG"]
    found = source(write_csv(folder / "pool.csv", [{"Image_ID": name} for name in names]))
    read = {}
    for item in items(found):
        try:
            read[item.key] = decode(found.read(item)).size == (24, 16)
        except UnreadableImage as error:
            read[item.key] = "there is no such file" not in str(error)
    assert [name for name in names if read[name]] == [
        *("ISIC_1", "0", "X.png", "a.b", "north/2", "north\\2"),
        *("\u00fc", "\u00fc.JPG"),
    ]


def test_a_value_of_a_parquet_file_that_cannot_be_read_costs_its_row(folder: Path) -> None:
    """A date after 9999, which says that there is none; text that is no UTF-8. A folder of such files is named."""
    arrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    texts = arrow.array([b"a", b"b", b"\xff"], arrow.binary()).view(arrow.string())
    days = arrow.array([0, 253_402_300_800, 1], arrow.timestamp("s"))
    columns = {"path": ["0.png", "1.png", "north/2.png"], "site": texts, "day": days}
    parquet.write_table(arrow.table(columns), folder / "pool.parquet")
    first, *others = items(source(folder / "pool.parquet"))
    assert dict(first.data) == {"site": "a", "day": "1970-01-01T00:00:00"}
    assert [item.problem.partition(" (")[0] for item in others if item.problem] == [
        "row 2: the value of its column 'day' cannot be read",
        "row 3: the value of its column 'site' cannot be read",
    ]
    (folder / "parts.parquet").mkdir()
    (folder / "pool.parquet").rename(folder / "parts.parquet/part-0.parquet")
    with pytest.raises(SourceError, match=r"is a folder, as Spark and Dask write tables: write it as one"):
        items(source(folder / "parts.parquet"))


def test_nothing_is_read_of_a_file_that_is_too_large(tmp_path: Path) -> None:
    """A sparse file of a terabyte that calls itself an image."""
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2**40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = source(tmp_path)
    with pytest.raises(UnreadableImage, match="larger than 200 MiB"):
        found.read(*items(found))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_file_that_comes_in_parts_is_read_whole(tmp_path: Path, monkeypatch) -> None:
    """As from some network shares."""
    data = bytes(range(250))
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "empty.jpg").write_bytes(b"")
    source, whole = open_source(str(tmp_path), key=b""), os.read
    monkeypatch.setattr(os, "read", lambda descriptor, count: whole(descriptor, min(count, 100)))
    assert source.read(SourceItem("a.jpg", "a.jpg", {})) == data
    assert source.read(SourceItem("empty.jpg", "empty.jpg", {})) == b""
