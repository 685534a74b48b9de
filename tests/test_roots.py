"""Images that lie on this machine are read there, and nothing but what lies in the folders that a setting names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.errors import LabelStudioUnreachable
from cdsel_backend.labelstudio.images import ImageReader, ImageUnavailable
from cdsel_backend.pool.roots import ImageRoots, OutsideRoot, TooLarge
from cdsel_backend.settings import ServerSettings, read_server_settings

MOST = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images, with a secret beside it and links that lead out."""
    mounted = tmp_path / "mnt"
    (mounted / "a b").mkdir(parents=True)
    (mounted / "a b" / "1+1=2 ä%.png").write_bytes(b"picture")
    (mounted / "large.png").write_bytes(b"x" * (MOST + 1))
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "mnt-other").mkdir()
    (tmp_path / "mnt-other" / "near.png").write_bytes(b"near")
    (mounted / "link.png").symlink_to(tmp_path / "secret.png")
    (mounted / "out").symlink_to(tmp_path)
    (mounted / "inside.png").symlink_to(mounted / "a b" / "1+1=2 ä%.png")
    (mounted / "loop.png").symlink_to(mounted / "loop.png")
    os.mkfifo(mounted / "pipe.png")
    return mounted


def local(path: str) -> str:
    return f"/data/local-files/?d={quote(path)}"


def test_an_address_is_read_where_it_lies(folder: Path) -> None:
    roots = ImageRoots.parse(f"/data/local-files/={folder}, s3://bucket/images={folder} ,gs://other={folder}")
    for address in (
        local("a b/1+1=2 ä%.png"),
        f"http://127.0.0.1:8080{local('a b/1+1=2 ä%.png')}",
        f"/label-studio{local('inside.png')}",
        f"s3://bucket/images/{quote('a b/1+1=2 ä%.png')}",
        "gs://other/inside.png",
    ):
        assert roots.read(address, MOST) == b"picture", address


def test_what_is_mapped_nowhere_or_not_there_is_left_to_label_studio(folder: Path) -> None:
    roots = ImageRoots.parse(f"/data/local-files/sub={folder}, s3://bucket={folder}")
    for address in (
        local("inside.png"),
        local("sub/gone.png"),
        local("sub"),
        local("sub/a b"),
        local("subway/inside.png"),
        local("sub/pipe.png"),
        local("sub/loop.png"),
        "/data/local-files/",
        "/data/upload/1/inside.png",
        "s3://bucket",
        "s3://bucket-of-others/inside.png",
        "gs://bucket/inside.png",
        "https://example.org/inside.png",
        "data:image/png;base64,AAAA",
        "",
    ):
        assert roots.read(address, MOST) is None, address
    assert roots.read(local("sub/inside.png"), MOST) == b"picture"
    assert ImageRoots.parse("").read(local("inside.png"), MOST) is None


def test_nothing_outside_the_folder_is_read(folder: Path) -> None:
    roots = ImageRoots.parse(f"/data/local-files/={folder}, s3://bucket={folder}")
    for path in (
        "../secret.png",
        "a b/../../secret.png",
        "link.png",
        "out/secret.png",
        "out/mnt-other/near.png",
        "../mnt-other/near.png",
        "a\0b.png",
    ):
        for address in (local(path), f"s3://bucket/{quote(path)}", f"s3://bucket/{path}"):
            with pytest.raises(OutsideRoot):
                roots.read(address, MOST)
    # An absolute path is one below the folder; decoded once, as Label Studio does, and not twice.
    assert roots.read(local(str(folder.parent / "secret.png")), MOST) is None
    assert roots.read(local(quote("../secret.png", safe="")), MOST) is None
    with pytest.raises(TooLarge):
        roots.read(local("large.png"), MOST)


def test_a_file_of_this_machine_needs_no_label_studio(folder: Path) -> None:
    away = LabelStudio("http://127.0.0.1:9", "0" * 40, image_roots=f"/data/local-files/={folder}")
    reader = ImageReader(away, max_bytes=MOST)
    assert reader.read(local("inside.png"), 1) == b"picture"
    with pytest.raises(ImageUnavailable, match="CDSEL_IMAGE_ROOTS"):
        reader.read(local("link.png"), 1)
    with pytest.raises(ImageUnavailable, match="larger"):
        reader.read(local("large.png"), 1)
    with pytest.raises(LabelStudioUnreachable):
        reader.read(local("gone.png"), 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/mnt/images", "maps no images"),
        ("/data/upload/=/", "maps no images"),
        ("s3://=/", "maps no images"),
        ("/data/local-files/=mnt", "no folder of this machine"),
        ("/data/local-files/=/no/such/folder", "/no/such/folder is no folder"),
        ("s3://bucket=", "nothing is no folder"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_start(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDSEL_IMAGE_ROOTS", text)
    with pytest.raises(ValueError, match=said) as fault:
        read_server_settings()
    assert "CDSEL_IMAGE_ROOTS" in str(fault.value)
    monkeypatch.delenv("CDSEL_IMAGE_ROOTS")
    assert ServerSettings().image_roots == ""
