"""The objects of a bucket, a page a request: walked folder by folder, each folder of a patient would be a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fsspec.asyn import sync

PAGE = 1000  # objects that S3 lists at once, at most
Objects = list[tuple[str, Mapping[str, Any]]]
"""Names in the bucket, each with what the storage says of the object."""
PageOf = Callable[[Any, str, str, str | None], tuple[Objects, str | None]]
"""(file system, bucket, prefix, where the page begins; None: at the first) -> a page, and where the next begins."""


def objects(filesystem: Any, bucket: str, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every object below a prefix, in the order of names; `filesystem` is one that `lists_pages` knows."""
    page_of = _PAGES[_protocol(filesystem)]
    begin: str | None = None
    while True:
        page, begin = page_of(filesystem, bucket, prefix, begin)
        yield from page
        if not begin:
            return


def lists_pages(filesystem: Any) -> bool:
    """Whether `objects` can list a file system of fsspec."""
    return _protocol(filesystem) in _PAGES


def _protocol(filesystem: Any) -> str:
    protocol = filesystem.protocol
    return str(protocol if isinstance(protocol, str) else protocol[0])


def _s3_page(filesystem: Any, bucket: str, prefix: str, begin: str | None) -> tuple[Objects, str | None]:
    more = {"ContinuationToken": begin} if begin else {}
    page = filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=PAGE, **more)
    found = [(str(info["Key"]), info) for info in page.get("Contents", ())]
    return found, page["NextContinuationToken"] if page.get("IsTruncated") else None


def _google_page(filesystem: Any, bucket: str, prefix: str, begin: str | None) -> tuple[Objects, str | None]:
    more = {"pageToken": begin} if begin else {}
    page = filesystem.call("GET", "b/{}/o", bucket, prefix=prefix, maxResults=PAGE, json_out=True, **more)
    return [(str(info["name"]), info) for info in page.get("items", ())], page.get("nextPageToken")


def _azure_page(filesystem: Any, bucket: str, prefix: str, begin: str | None) -> tuple[Objects, str | None]:
    async def ask() -> tuple[Objects, str | None]:
        async with filesystem.service_client.get_container_client(bucket) as container:
            listed = container.list_blobs(
                name_starts_with=prefix, include=["metadata"], results_per_page=PAGE
            )
            pages = listed.by_page(continuation_token=begin)
            found = [(str(blob.name), blob) async for blob in await anext(pages) if not _is_folder(blob)]
            return found, pages.continuation_token

    page: tuple[Objects, str | None] = sync(filesystem.loop, ask)
    return page


def _is_folder(blob: Any) -> bool:
    """Whether an object of Azure stands for a folder, as in accounts with a hierarchy."""
    metadata = {str(name).lower(): value for name, value in (blob.metadata or {}).items()}
    return "true" in (metadata.get("hdi_isfolder"), metadata.get("is_directory"))


_PAGES: Mapping[str, PageOf] = {"s3": _s3_page, "gs": _google_page, "gcs": _google_page, "abfs": _azure_page}
