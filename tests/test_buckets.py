"""Pools in object storage: S3 as a real client speaks it, to a server of moto's that runs as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backend import lasting_port
from conftest import LABEL_CONFIG
from test_sources import at, items, picture, source

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.images import ImageReader, ImageUnavailable
from cdsel_backend.pool import patience
from cdsel_backend.pool.decode import UnreadableImage, decode
from cdsel_backend.pool.patience import StorageFails
from cdsel_backend.pool.source import SourceError
from cdsel_backend.pool.suspension import LONGEST_SUSPENSION, MOST_TIMEOUTS, HostSuspended, Suspensions
from cdsel_backend.sources.files import Files

boto3 = pytest.importorskip("boto3", reason="boto3 and moto are not installed (extra test)")
pytest.importorskip("moto", reason="moto is not installed (extra test)")
pytest.importorskip("s3fs", reason="the extra s3 is not installed")

BUCKET = "scans"
NAMES = [
    *("a.png", "with space.png", "ümläut.png", "hash#1.png", "what?x=1.png", "per%20cent.png", "half%.png"),
    *("plus+.png", "star[1]*.png", "q'uote.png", 'd"q.png', "back\\slash.png", "north/deep/b.png"),
]


@dataclass
class S3:
    """A server of S3's protocol; what it holds is lost when it stops."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600):
            with suppress(OSError):
                urllib.request.urlopen(f"{self.address}/moto-api/", timeout=10).close()
                break
            assert self.process.poll() is None, "moto's server did not start"
            time.sleep(0.1)
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def put(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=name, Body=content)

    def check_credentials(self, checked: bool) -> None:
        """Whether every request from now on is refused whose key the server does not know."""
        request = urllib.request.Request(
            f"{self.address}/moto-api/reset-auth",
            data=b"0" if checked else b"1000000000",
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture(scope="module")
def s3(tmp_path_factory) -> Iterator[S3]:
    """A running server, and what S3's own libraries need to know of it, as an admin would set it."""
    server = S3(lasting_port())
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "FSSPEC_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        nowhere = tmp_path_factory.mktemp("aws") / "none"  # not whoever runs the tests
        for name, value in {
            "AWS_ENDPOINT_URL": server.address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": str(nowhere),
            "AWS_SHARED_CREDENTIALS_FILE": str(nowhere),
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        server.start()
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def patient(monkeypatch) -> None:
    """No storage is left alone because of another test, and a client tries once, not five times with pauses."""
    monkeypatch.setattr("cdsel_backend.sources.files.storages", Suspensions())
    from s3fs import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()  # which is by options, not by environment


def test_names_that_people_give_are_listed_and_read(s3: S3) -> None:
    for number, name in enumerate(NAMES):
        s3.put(f"names/{name}", picture(number))
    s3.put("names/folder/", b"")  # as a storage's console makes a folder
    s3.put("names/empty.png", b"")
    s3.put("names/a//b.png", picture())
    found = source(f"s3://{BUCKET}/names")
    listed = {item.key: item for item in items(found)}
    assert "not listed" in (listed.pop("a/").problem or "")
    assert listed.keys() == {*NAMES, "empty.png"}
    for number, name in enumerate(NAMES):
        assert found.read(listed[name]) == picture(number), name
    assert found.read(listed["empty.png"]) == b""
    assert listed["north/deep/b.png"].data == {"folder": "north/deep"}
    assert len(items(source(f"S3://{BUCKET}/names/"))) == len(listed) + 1  # written in another way


def test_a_table_lies_beside_its_images(s3: S3) -> None:
    for number in range(3):
        s3.put(f"table/{number} ü#.png", picture(number))
    s3.put("table/pool.csv", f"image,site\n0 ü#.png,a\ns3://{BUCKET}/table/1 ü#.png,b\n".encode())
    found = source(f"s3://{BUCKET}/table/pool.csv")
    listing = found.list()
    assert listing is not None
    listed = list(listing.items)
    assert [item.data["site"] for item in listed] == ["a", "b"]
    assert [found.read(item) for item in listed] == [picture(0), picture(1)]
    assert found.list(listing.watermark) is None
    items(
        source(f"s3://{BUCKET}/table")
    )  # what a look at the prefix knows of the table must not count for it
    s3.put("table/pool.csv", b"image,site\n2 \xc3\xbc#.png,c\n")
    assert [item.data["site"] for item in items(found, listing.watermark)] == ["c"]


def test_a_prefix_grows_and_an_object_is_replaced(s3: S3) -> None:
    for number in range(2):
        s3.put(f"grows/{number}.png", picture(number))
    found = source(f"s3://{BUCKET}/grows")
    before = {item.key: item.stamp for item in items(found)}
    s3.put("grows/2.png", picture(2))
    s3.put("grows/0.png", picture(7, (32, 32)))
    after = {item.key: item.stamp for item in items(found)}
    assert after.keys() - before.keys() == {"2.png"}
    assert [key for key in before if before[key] != after[key]] == ["0.png"]
    assert found.read(at("0.png")) == picture(7, (32, 32))
    s3.client.delete_object(Bucket=BUCKET, Key="grows/1.png")
    assert {item.key for item in items(found)} == {"0.png", "2.png"}
    with pytest.raises(UnreadableImage, match=r"1.png: there is no such file in s3://scans/grows"):
        found.read(at("1.png"))


def test_what_is_not_there_is_said_with_the_fix(s3: S3) -> None:
    s3.put("one/a.png", picture())
    for address in (
        "s3://no-such-bucket/x",
        f"s3://{BUCKET}/none",
        "s3://no-such-bucket/t.csv",
        f"s3://{BUCKET}/t.csv",
    ):
        with pytest.raises(
            SourceError, match=f"^{address} is not there .*name of its bucket.*AWS_ENDPOINT_URL"
        ):
            items(source(address))
    with pytest.raises(SourceError, match="is no source"):
        source(f"s3://{BUCKET}/one/a.png")
    with pytest.raises(SourceError, match="names no bucket"):
        source("s3://")


def test_a_file_that_is_too_large_is_not_read_whole(s3: S3) -> None:
    s3.put("large/a.png", b"x" * 5000)
    from cdsel_backend.sources import open_source

    small = open_source(f"s3://{BUCKET}/large", key=b"", max_bytes=4000)
    with pytest.raises(UnreadableImage, match="larger than"):
        small.read(at("a.png"))


def test_refused_credentials_are_named_and_leave_no_storage_alone(s3: S3, monkeypatch) -> None:
    s3.put("keys/a.png", picture())
    found = source(f"s3://{BUCKET}/keys")
    s3.check_credentials(True)
    try:
        with pytest.raises(SourceError, match=r"refuses \(.*AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
            items(found)
        for _ in range(MOST_TIMEOUTS + 1):
            with pytest.raises(StorageFails, match=r"refuses \(.*AWS_ACCESS_KEY_ID") as fault:
                found.read(at("a.png"))
            assert fault.value.retry_after == patience.AGAIN_SECONDS
    finally:
        s3.check_credentials(False)
    assert found.read(at("a.png")) == picture()  # as soon as the account may
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(SourceError, match=r"refuses \(Unable to locate credentials\): set AWS_PROFILE"):
        source(f"s3://{BUCKET}/keys")


def test_a_server_that_goes_away_and_returns(s3: S3, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("cdsel_backend.sources.files.storages", Suspensions(lambda: clock[0]))
    s3.put("away/north/a.png", picture(1))
    s3.put("away/south/b.png", picture(2))
    monkeypatch.setattr("cdsel_backend.sources.buckets.PAGE", 1)
    found = source(f"s3://{BUCKET}/away")
    listing = found.list()
    assert listing is not None
    assert next(listing.items).key == "north/a.png"
    s3.stop()
    with pytest.raises(SourceError, match=r"^s3://scans/away does not answer .*AWS_ENDPOINT_URL"):
        list(listing.items)  # not the end of the listing: all that follows would be taken for gone
    for last in (False, False, True):
        with pytest.raises(HostSuspended if last else StorageFails, match="answer") as fault:
            found.read(at("north/a.png"))
        assert "north" not in str(fault.value), "one sentence for all images of the storage"
    begun = time.monotonic()
    for _ in range(1000):  # nobody is asked
        with pytest.raises(HostSuspended):
            found.read(at("north/a.png"))
    assert time.monotonic() - begun < 30
    s3.start()
    s3.put("away/north/a.png", picture(1))
    s3.put("away/south/b.png", picture(2))
    clock[0] += 120
    assert found.read(at("north/a.png")) == picture(1)
    assert [item.key for item in items(found)] == ["north/a.png", "south/b.png"]
    assert decode(found.read(at("south/b.png"))).size == (24, 16)


def test_a_storage_that_is_away_for_months_is_asked_once_an_hour() -> None:
    clock = [0.0]
    hosts = Suspensions(lambda: clock[0])
    for _ in range(1100):
        clock[0] += 2 * LONGEST_SUSPENSION
        suspended = hosts.timed_out("s3://scans")
    assert suspended is not None
    assert suspended.retry_after == LONGEST_SUSPENSION


def test_addresses_of_a_bucket_in_tasks_are_read_as_label_studio_signs_them(s3: S3, studio) -> None:
    names = [
        name for name in NAMES if "/" not in name and "?" not in name
    ]  # Label Studio signs no name with ?
    for number, name in enumerate(names):
        s3.put(f"tasks/{name}", picture(number))
    client = LabelStudio(studio.url, studio.token, image_hosts="127.0.0.1")
    project = client.create_project("Bucket", LABEL_CONFIG)
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    where = {"bucket": BUCKET, "prefix": "tasks", "s3_endpoint": s3.address, "regex_filter": ".*"}
    body = {"project": project, "title": "bucket", "use_blob_urls": True, "presign": True, **where, **keys}
    storage = client.send("POST", "/api/storages/s3", body)["id"]
    client.send("POST", f"/api/storages/s3/{storage}/sync", {})
    reader, tasks = ImageReader(client), list(client.tasks(project))
    read = {task["data"]["image"]: reader.read(task["data"]["image"], task["id"]) for task in tasks}
    assert read == {f"s3://{BUCKET}/tasks/{name}": picture(number) for number, name in enumerate(names)}
    s3.client.delete_object(Bucket=BUCKET, Key=f"tasks/{names[0]}")
    with pytest.raises(ImageUnavailable, match="the storage that Label Studio points to refused"):
        reader.read(f"s3://{BUCKET}/tasks/{names[0]}", tasks[0]["id"])
    with pytest.raises(ImageUnavailable, match="CDSEL_IMAGE_HOSTS"):
        ImageReader(LabelStudio(studio.url, studio.token)).read(tasks[1]["data"]["image"], tasks[1]["id"])


def test_reading_begins_while_the_storage_is_away() -> None:
    """A worker that is started meanwhile has nothing to go by but the address."""
    from cdsel_backend.sources import open_source

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{lasting_port()}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "x")
        found = open_source("s3://scans/away", key=b"", look=False)
        with pytest.raises(StorageFails, match="does not answer"):
            found.read(at("a.png"))


def test_a_folder_that_is_not_mounted_is_no_missing_file(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    files: Any = Files(str(folder), key=b"", max_bytes=1000, options=Any)
    with pytest.raises(UnreadableImage, match="no such file") as fault:
        files.read("a.png")
    assert not isinstance(fault.value, StorageFails)
    folder.rmdir()
    with pytest.raises(StorageFails, match=r"share is not there: see that it is mounted"):
        files.read("a.png")
