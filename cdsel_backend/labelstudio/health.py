"""Who answers at the address of a backend, as seen from here."""

from __future__ import annotations

import httpx

from cdsel_backend.labelstudio.trust import certificates
from cdsel_backend.store.records import Json

TIMEOUT = 5.0


def ask_health(base: str, *, by_proxy: bool = False) -> Json | None:
    """The JSON that /health of a backend answers; {} where it is no JSON object, None where nobody answers.

    Args:
        base: the address, without a slash at its end.
        by_proxy: whether to ask by the proxy that the environment names, if any: a proxy answers for those that it
            does not reach, too.
    """
    try:
        answer = httpx.get(f"{base}/health", timeout=TIMEOUT, trust_env=by_proxy, verify=certificates())
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
        return None
    try:
        health = answer.json()
    except ValueError:
        return {}
    return health if isinstance(health, dict) else {}
