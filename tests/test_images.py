"""Reading task images: from a real Label Studio, and from local HTTP servers."""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from serving import running

from cdsel_backend.demo.process import free_port
from cdsel_backend.labelstudio import images
from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioUnreachable, TokenRefused
from cdsel_backend.labelstudio.images import ImageReader, ImageUnavailable
from cdsel_backend.pool.decode import UnreadableImage

CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)
HERE = "127.0.0.0/8"  # where the servers below are, as a hospital's own would be named
DATA = b"\x89PNG" + bytes(range(256)) * 40


@pytest.fixture
def client(studio):
    return LabelStudio(studio.url, studio.token, image_hosts=HERE)


@pytest.fixture
def project(client):
    project = client.create_project("Images test", CONFIG)
    yield project
    client.request("DELETE", f"/api/projects/{project}/")


@contextmanager
def serve(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A local HTTP server; yields its address and the headers of each request."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({key.lower(): value for key, value in self.headers.items()})
            answer(self)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, running(server) as address:
        yield address, seen


def reply(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    for key, value in {"Content-Length": str(len(body)), **headers}.items():
        request.send_header(key, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


# Label Studio's own


@pytest.mark.parametrize("kind", ["token", "legacy_token"])
def test_an_uploaded_image_is_read(studio, client, project, browser, kind):
    files = {"file": ("lesion.png", DATA, "image/png")}
    assert browser.post(f"/api/projects/{project}/import", files=files).status_code == 201
    (task,) = client.tasks(project)
    url = task["data"]["image"]
    assert url.startswith("/data/upload/")
    reader = ImageReader(LabelStudio(studio.url, getattr(studio, kind)))
    assert reader.read(url, task["id"]) == DATA
    assert reader.read(studio.url + url, task["id"]) == DATA


def test_a_local_file_is_read_and_a_missing_one_named(studio, client, project):
    folder = studio.document_root / f"images-{project}"
    folder.mkdir()
    (folder / "a b&ü.png").write_bytes(DATA)
    reader, url = ImageReader(client), f"/data/local-files/?d={folder.name}/a b%26ü.png"
    with pytest.raises(ImageUnavailable, match="no Local storage"):
        reader.read(url, 1)
    client.add_local_storage(project, str(folder))
    assert reader.read(url, 1) == DATA
    with pytest.raises(ImageUnavailable, match=r"none\.png answered 404: the file is missing"):
        reader.read(f"/data/local-files/?d={folder.name}/none.png", 1)
    with pytest.raises(ImageUnavailable, match="uploaded file is missing"):
        reader.read("/data/upload/1/none.png", 1)


def test_cloud_storage_is_read_through_label_studio_which_signs(client, project):
    """A local server plays the S3 bucket; Label Studio's redirect to it must not carry our token."""

    def bucket(request):
        known = request.path == "/bucket" or request.path.startswith("/bucket/a.png?")
        reply(request, 200, DATA) if known else reply(request, 404)

    with serve(bucket) as (address, seen):
        storage = {
            "project": project,
            "bucket": "bucket",
            "s3_endpoint": address,
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
            "region_name": "eu-west-1",
            "presign": True,
            "use_blob_urls": True,
        }
        storage_id = client.send("POST", "/api/storages/s3", storage)["id"]
        uris = ("s3://bucket/a.png", "s3://bucket/gone.png")
        there, gone = client.import_tasks(project, [{"data": {"image": uri}} for uri in uris])
        seen.clear()
        assert ImageReader(client).read(uris[0], there) == DATA
        # As the queue project's tasks name it: signed through the pool's task.
        signed = f"/tasks/{there}/presign/?fileuri={base64.b64encode(uris[0].encode()).decode()}"
        assert ImageReader(client).read(signed, 1) == DATA
        with pytest.raises(ImageUnavailable, match="storage"):
            ImageReader(client).read(uris[1], gone)
        with pytest.raises(ImageUnavailable, match="no cloud storage"):
            ImageReader(client).read("s3://other/a.png", there)
        assert len(seen) == 3
        assert not any("authorization" in headers for headers in seen)
        client.request("DELETE", f"/api/storages/s3/{storage_id}")


def test_label_studio_away_is_not_the_images_fault():
    reader = ImageReader(LabelStudio(f"http://127.0.0.1:{free_port()}", "0" * 40))
    with pytest.raises(LabelStudioUnreachable):
        reader.read("/data/upload/1/a.png", 1)


def test_a_refused_token_is_not_the_images_fault(studio):
    reader = ImageReader(LabelStudio(studio.url, "0" * 40))
    with pytest.raises(TokenRefused):
        reader.read("/data/upload/1/a.png", 1)


def test_an_access_token_that_runs_out_is_renewed(client, project, browser):
    files = {"file": ("lesion.png", DATA, "image/png")}
    assert browser.post(f"/api/projects/{project}/import", files=files).status_code == 201
    (task,) = client.tasks(project)
    client._wrapper._tokens_client._access_token = jwt.encode({"exp": 9_999_999_999}, "x" * 32)
    assert ImageReader(client).read(task["data"]["image"], task["id"]) == DATA


@pytest.mark.parametrize("status", [500, 503])
def test_label_studio_overloaded_or_without_its_database_is_not_the_images_fault(status):
    with serve(lambda request: reply(request, status)) as (url, _), pytest.raises(LabelStudioUnreachable):
        ImageReader(LabelStudio(url, "0" * 40)).read("/data/upload/1/a.png", 1)


@pytest.mark.parametrize("status", [429, 503])
def test_a_personal_token_that_is_not_renewed_now_is_neither_refused_nor_the_images_fault(status):
    with serve(lambda request: reply(request, status, b'{"message": "later"}')) as (url, _):
        reader = ImageReader(LabelStudio(url, jwt.encode({"exp": 9_999_999_999}, "x" * 32)))
        with pytest.raises(LabelStudioUnreachable, match="does not renew the access token: later"):
            reader.read("/data/upload/1/a.png", 1)


@pytest.mark.parametrize("fault", ["502", "504", "no answer"])
def test_an_image_that_label_studio_alone_does_not_give_is_the_images_fault(fault):
    def answer(request):
        if request.path == "/api/version":
            reply(request, 200, b"{}")
        elif fault != "no answer":
            reply(request, int(fault))

    with (
        serve(answer) as (url, _),
        pytest.raises(ImageUnavailable, match=r"a\.png .*though Label Studio itself answers"),
    ):
        ImageReader(LabelStudio(url, "0" * 40)).read("/data/upload/1/a.png", 1)


# Elsewhere


def test_http_images_are_read_without_the_token(client):
    with serve(lambda request: reply(request, 200, DATA)) as (url, seen):
        assert ImageReader(client).read(f"{url}/a.png?x=1", 1) == DATA
    assert "authorization" not in seen[0]


def test_a_redirect_away_from_label_studio_loses_the_token():
    with (
        serve(lambda request: reply(request, 200, DATA)) as (there, seen_there),
        serve(lambda request: reply(request, 303, Location=f"{there}/signed")) as (home, seen_home),
    ):
        reader = ImageReader(LabelStudio(home, "0" * 40, image_hosts=HERE))
        assert reader.read("/tasks/5/presign/?fileuri=abc", 5) == DATA
    assert seen_home[0]["authorization"] == "Token " + "0" * 40
    assert "authorization" not in seen_there[0]


def test_below_a_path_prefix_paths_are_found_with_or_without_it():
    def answer(request):
        reply(request, 200, DATA) if request.path == "/studio/data/upload/1/a.png" else reply(request, 404)

    with serve(answer) as (home, _):
        reader = ImageReader(LabelStudio(f"{home}/studio", "0" * 40, image_hosts=HERE))
        for url in (
            "/data/upload/1/a.png",
            "/studio/data/upload/1/a.png",
            f"{home}/studio/data/upload/1/a.png",
        ):
            assert reader.read(url, 1) == DATA


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_refusals_are_named(client, status):
    with (
        serve(lambda request: reply(request, status)) as (url, _),
        pytest.raises(ImageUnavailable, match=rf"a\.png answered {status}$"),
    ):
        ImageReader(client).read(f"{url}/a.png?signature=secret", 1)


def test_label_studios_public_address_in_a_task_is_explained(client):
    with (
        serve(lambda request: reply(request, 401)) as (url, _),
        pytest.raises(ImageUnavailable, match=r"path alone \(/data/upload/1/a.png\)"),
    ):
        ImageReader(client).read(f"{url}/data/upload/1/a.png", 1)


def test_a_host_that_is_away_is_the_images_fault(client):
    with pytest.raises(ImageUnavailable, match="cannot be read"):
        ImageReader(client).read(f"http://127.0.0.1:{free_port()}/a.png", 1)


def test_too_large_is_refused_by_its_length_and_while_it_comes(client):
    def with_length(request):
        reply(request, 200, DATA)

    def unpacking(request):
        reply(request, 200, gzip.compress(b"\0" * 10_000_000), **{"Content-Encoding": "gzip"})

    for answer in (with_length, unpacking):
        with serve(answer) as (url, _), pytest.raises(ImageUnavailable, match="larger than"):
            ImageReader(client, max_bytes=9_000).read(f"{url}/a.png", 1)


def test_an_image_cut_off_on_its_way_and_one_that_trickles(client, monkeypatch):
    def cut(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(DATA)))
        request.end_headers()
        request.wfile.write(DATA[:100])

    with serve(cut) as (url, _), pytest.raises(ImageUnavailable, match="cannot be read"):
        ImageReader(client).read(f"{url}/a.png", 1)

    monkeypatch.setattr(images, "MAX_SECONDS", 0.2)

    def trickle(request):
        request.send_response(200)
        request.end_headers()
        for _ in range(20):
            request.wfile.write(b"x")
            time.sleep(0.05)

    with serve(trickle) as (url, _), pytest.raises(ImageUnavailable, match="did not arrive within"):
        ImageReader(client).read(f"{url}/a.png", 1)


def test_inline_images(client):
    reader = ImageReader(client)
    assert reader.read("data:image/png;base64," + base64.b64encode(DATA).decode(), 1) == DATA
    assert reader.read("data:,a%20b", 1) == b"a b"
    spaced = (
        base64.encodebytes(DATA).decode().rstrip("=\n")
    )  # as browsers take it: in lines, and without its end
    assert reader.read(f"data:image/png;base64,{spaced}", 1) == DATA
    for url in ("data:image/png;base64,@@@", "data:image/png;base64"):
        with pytest.raises(ImageUnavailable, match="damaged"):
            reader.read(url, 1)


@pytest.mark.parametrize(
    "url", ["", "images/a.png", "C:\\a.png", "file:///etc/passwd", "ftp://x/a", "http://[x", "http://x:y/a"]
)
def test_other_addresses_are_refused_in_words(client, url):
    with pytest.raises(UnreadableImage):
        ImageReader(client).read(url, 1)
