"""The port `PoolSource`: a toy and Label Studio's project keep the same contract."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import httpx
import pytest
from source_contract import check_source

from cdsel_backend.demo.studio import LocalStudio
from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioError
from cdsel_backend.labelstudio.fields import ImageField
from cdsel_backend.labelstudio.source import LabelStudioPool, annotator_address, is_shown_as
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.source import Listing, PoolSource, SourceError, SourceItem

CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)


class Drawer:
    """The smallest source: images in memory."""

    def __init__(self, images: Mapping[str, bytes | None]) -> None:
        self.images = images

    def list(self, watermark: str = "") -> Listing | None:
        if watermark == str(len(self.images)):
            return None
        items = (SourceItem(name, name, {"name": name}) for name in self.images)
        return Listing(items, complete=True, watermark=str(len(self.images)))

    def describe(self, item: SourceItem) -> Mapping[str, str]:
        return {}

    def read(self, item: SourceItem) -> bytes:
        data = self.images[item.image]
        if data is None:
            raise UnreadableImage(f"{item.image} is blank")
        return data

    def annotator_address(self, item: SourceItem) -> str | None:
        return None


def test_a_toy_keeps_the_contract() -> None:
    source: PoolSource = Drawer({"a": b"1", "b": b"22", "c": None})
    check_source(source, {"a": b"1", "b": b"22", "c": None})


def test_a_project_of_label_studio_keeps_the_contract(studio: LocalStudio, browser: httpx.Client) -> None:
    client = LabelStudio(studio.url, studio.token)
    project = client.create_project("a pool", CONFIG)
    images = {"one": b"first", "two": b"second", "none": None}
    client.import_tasks(
        project,
        [
            {"data": {"image": _inline(data) if data else "/data/upload/1/gone.png", "name": name}}
            for name, data in images.items()
        ],
    )
    source = LabelStudioPool(client, project, ImageField.parse("$image"))
    check_source(source, images)
    items = {item.data["name"]: item for item in source.list().items}
    client.submit(items["one"].task, [])
    assert [len(item.annotations) for item in source.list().items] == [1, 0, 0]
    missing: PoolSource = LabelStudioPool(client, project + 1000, ImageField.parse("$image"))
    with pytest.raises(SourceError):
        list(missing.list().items)  # type: ignore[union-attr]
    browser.delete(f"/api/projects/{project}")


def test_a_task_without_an_image_is_unreadable_and_cloud_images_are_signed_by_their_task() -> None:
    source = LabelStudioPool(LabelStudio("http://studio", "0" * 40), 1, ImageField.parse("$photo"))
    with pytest.raises(UnreadableImage, match="photo"):
        source.read(SourceItem("7", "", {}))
    upload, cloud = SourceItem("7", "/data/upload/1/a.png", {}), SourceItem("7", "s3://bucket/a.png", {})
    assert annotator_address(upload) == "/data/upload/1/a.png"
    assert annotator_address(upload, "/labels") == "/labels/data/upload/1/a.png"
    kept = SourceItem("7", "/labels/data/upload/1/a.png", {})
    assert annotator_address(kept, "/labels") == kept.image
    assert annotator_address(cloud, "/labels") == f"/labels{annotator_address(cloud)}"
    rendered = "/labels/data/upload/3/0a1b2c3d-item-7.png"
    for good in (upload.image, kept.image, rendered):
        assert is_shown_as(upload, good)
    for bad in (
        None,
        "https://evil.org/data/upload/1/a.png",
        rendered.replace("item-7", "item-8"),
        "/data/upload/1/b.png",
    ):
        assert not is_shown_as(upload, bad)
    signed = annotator_address(cloud)
    assert signed.startswith("/tasks/7/presign/?fileuri=")
    assert issubclass(LabelStudioError, SourceError)


def _inline(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()
