"""What stands for all that a result was made from: where any of it is another, so is the digest."""

from __future__ import annotations

import hashlib
import json


def digest_of(parts: object, *, size: int = 16) -> str:
    """A digest of what JSON can hold, as 2 * `size` hex digits; the same in every process and after a restart."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=size).hexdigest()
