"""The contract of the port `PoolSource`: every implementation passes `check_source`."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.source import PoolSource, SourceItem


def check_source(source: PoolSource, images: Mapping[str, bytes | None]) -> None:
    """A source keeps the contract; `images`: the variable `name` of each item -> its bytes, None where it has none."""
    listing = source.list()
    assert listing is not None
    assert listing.complete
    items = list(listing.items)
    assert sorted(item.data["name"] for item in items) == sorted(images)
    assert len({item.key for item in items}) == len(items)

    again = source.list()
    assert again is not None
    assert _known(again.items) == _known(items)
    later = source.list(listing.watermark)
    if later is not None:
        changed = _known(later.items)
        assert changed.items() <= _known(items).items()
        assert not later.complete or changed == _known(items)

    for item in items:
        assert isinstance(source.describe(item), Mapping)
        address = source.annotator_address(item)
        assert address is None or isinstance(address, str)
        wanted = images[item.data["name"]]
        if wanted is None:
            with pytest.raises(UnreadableImage) as fault:
                source.read(item)
            assert str(fault.value)
    readable = [item for item in items if images[item.data["name"]] is not None]
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(source.read, readable * 3))
    assert read == [images[item.data["name"]] for item in readable * 3]


def _known(items: object) -> dict[str, SourceItem]:
    return {item.key: item for item in items}  # type: ignore[attr-defined]
