"""What tests share: one real Label Studio a session, and small projects in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdsel_backend.demo.studio import LocalStudio


@pytest.fixture(scope="session")
def studio() -> Iterator[LocalStudio]:
    """A running Label Studio. Local files may lie in folders of `studio.document_root`."""
    with LocalStudio(legacy_token=True) as running:
        yield running
