"""Label Studio below a path, by another name than this backend uses, with files that no browser shows."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
from conftest import LABEL_CONFIG
from PIL import Image
from reverse_proxy import reverse_proxy
from test_browser_label_studio import log_in
from test_dicom import draw
from test_images import HERE, reply, serve

from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.images import ImageReader, ImageUnavailable
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.loop import reconcile
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State, Store

PREFIX = "/labelstudio"
GREY = np.linspace(0, 4000, 64 * 64).astype(np.uint16).reshape(64, 64)


def encode(pixels, kind, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def files():
    """Name -> bytes: what browsers show, and what none shows."""
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    scan = draw(GREY, PatientName="Doe^Jane", PatientID="MRN-4711", PhotometricInterpretation="MONOCHROME2")
    return {
        "a.jpg": encode(colour, "JPEG"),
        "b.png": encode(colour, "PNG"),
        "deep.png": encode(GREY, "PNG"),
        "c.tif": encode(colour, "TIFF"),
        "float.tif": encode(GREY.astype(np.float32), "TIFF"),
        "d.jp2": encode(colour, "JPEG2000"),
        "scan.dcm": scan,
    }


# As Label Studio asks of a bucket.
BUCKET = {"Content-Type": "image/jpeg", "Access-Control-Allow-Origin": "*"}
SHOWN = """wanted => [...document.images]
    .filter(one => /data|presign/.test(one.src) && one.naturalWidth > 0).length >= wanted"""
AS_THEY_ARE = {"a.jpg", "b.png", "cloud.jpg", "relative.jpg"}


@pytest.fixture(scope="module")
def below():
    """A Label Studio whose name is a proxy's, below a path."""
    with reverse_proxy(PREFIX) as proxy, LocalStudio(environment={"LABEL_STUDIO_HOST": proxy.url}) as studio:
        proxy.target = studio.url
        yield studio, proxy


@pytest.mark.slow
def test_annotators_see_every_image_of_a_label_studio_below_a_path_by_another_name(below, tmp_path, chromium):
    studio, proxy = below
    client = LabelStudio(studio.url, studio.token, image_hosts=HERE)
    assert client.own_address() == proxy.url
    project = client.create_project("Below a path", LABEL_CONFIG)
    folder = studio.document_root / "pool"
    folder.mkdir()
    for name, data in files().items():
        (folder / name).write_bytes(data)
    storage = client.add_local_storage(project, str(folder))
    client.send("POST", f"/api/storages/localfiles/{storage}/sync", {})
    synced = [task["data"] for task in client.tasks(project)]
    (field,) = synced[0]
    assert all(data[field].startswith(f"{proxy.url}/data/local-files/?d=pool/") for data in synced)
    cloud = encode(np.full((64, 64, 3), 90, np.uint8), "JPEG")
    with (
        serve(lambda request: reply(request, 200, cloud, **BUCKET)) as (bucket, _),
        serve(lambda request: reply(request, 401)) as (foreign, seen),
    ):
        s3 = {
            "bucket": "bucket",
            "s3_endpoint": bucket,
            "aws_access_key_id": "k",
            "aws_secret_access_key": "s",
        }
        client.send(
            "POST",
            "/api/storages/s3",
            {**s3, "project": project, "region_name": "eu-west-1", "use_blob_urls": True},
        )
        (folder / "relative.jpg").write_bytes(encode(np.full((64, 64, 3), 30, np.uint8), "JPEG"))
        forged = f"{foreign}{PREFIX}/data/local-files/?d=pool/a.jpg"
        client.import_tasks(
            project,
            [
                {"data": {"image": image}}
                for image in ("s3://bucket/cloud.jpg", "/data/local-files/?d=pool/relative.jpg", forged)
            ],
        )
        # Another host's image is another host's, and sees no token.
        with pytest.raises(ImageUnavailable, match="LABEL_STUDIO_HOST"):
            ImageReader(client).read(forged, 1)
        # Nor is what merely begins like the name, or climbs out of it.
        named = proxy.url.removesuffix(PREFIX)
        for url in (
            f"{named}1{PREFIX}/data/upload/a.png",
            f"{named}@evil.invalid{PREFIX}/data/upload/a.png",
            f"{named}/data/upload/1/a.png",
            f"{proxy.url}/data/../api/users/",
        ):
            with pytest.raises(ImageUnavailable):
                ImageReader(client).read(url, 1)

        server = ServerSettings(
            data_dir=tmp_path,
            label_studio_url=studio.url,
            label_studio_api_key=studio.token,
            image_hosts=HERE,
            public_url="http://127.0.0.1:9",
        )
        store = Store.open(server)
        ours = store.connect_project(
            studio.url,
            project,
            label_config=LABEL_CONFIG,
            layers={"extra parameters": {"budget": 20, "round_size": 20}},
        )
        context = Context(store, server, client)
        for _ in range(40):
            if not reconcile(context, ours):
                break
        state = State(store, ours)
        assert [item.image for item in store.unusable(ours)] == [forged]
        assert not any("authorization" in headers for headers in seen)
        items = store.items_by_id(state.open)
        tasks = {task["id"]: task["data"] for task in client.tasks(state.project.queue_project)}
        assert len(tasks) == len(files()) + 2

        page = chromium.new_page(viewport={"width": 1300, "height": 1400})
        log_in(page, proxy.url, studio.email, studio.password)
        cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
        for row in state.selections:
            name = items[row.item].image.rpartition("/")[2]
            address = tasks[row.queue_task]["image"]
            answer = httpx.get(
                f"{proxy.origin}{address}" if address.startswith("/") else address,
                cookies=cookies,
                follow_redirects=True,
                timeout=60,
            )
            assert answer.status_code == 200, (name, address)
            if name not in AS_THEY_ARE:
                assert Image.open(io.BytesIO(answer.content)).format == "PNG", name
                assert b"Jane" not in answer.content
                assert not any(part in str(tasks[row.queue_task]["image"]) for part in ("dcm", "tif", "jp2"))
        # The list beside a task shows the images of all, as the browser that shows the task loads them.
        first = state.selections[0].queue_task
        page.goto(f"{proxy.url}/projects/{state.project.queue_project}/data?task={first}")
        page.wait_for_function(SHOWN, arg=len(tasks), timeout=60_000)
        page.screenshot(path=tmp_path / "queue.png")
        page.close()
        # A push that died before it was recorded is found again by its marks, rendered pictures, too.
        store.mark_selections(ours, {row.item: {"queue_task": None} for row in state.selections})
        for _ in range(10):
            if not reconcile(context, ours):
                break
        assert State(store, ours).open == state.open
        assert len(list(client.tasks(state.project.queue_project))) == len(tasks)
        store.close()
