"""Why a token is not accepted, and what to do: releases of Label Studio differ in the kinds that they take."""

from __future__ import annotations

import httpx

from cdsel_backend.labelstudio.releases import has_personal_tokens, token_advice
from cdsel_backend.labelstudio.trust import certificates
from cdsel_backend.settings import where_to_put_token

_INACTIVE = ("no active account", "inactive or deleted")  # of a personal token, and of a legacy one
_TIMEOUT = 10.0  # seconds: what is asked it always has at hand


def release_at(url: str) -> str:
    """The release that the Label Studio at an address shows to anybody; "" where it cannot be asked."""
    try:
        answer = httpx.get(f"{url}/api/version", timeout=_TIMEOUT, verify=certificates())
        return str(answer.json()["release"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ""


def is_personal(token: str) -> bool:
    """Whether a token is a personal access token (a JWT); else it is a legacy one."""
    return token.count(".") == 2


def not_accepted(url: str, token: str, reason: str) -> str:
    """The sentence on a token that the Label Studio at an address refuses, and on where to find one that it accepts."""
    release = release_at(url)
    kind = ""
    if release and is_personal(token) and not has_personal_tokens(release):
        kind = f"; Label Studio {release} has no personal access tokens"
    elif release and not is_personal(token) and has_personal_tokens(release):
        kind = f"; Label Studio {release} refuses legacy tokens unless its organisation allows them"
    if any(phrase in reason.lower() for phrase in _INACTIVE):
        kind = "; its account was deactivated or deleted: have it activated again, or use one that may stay"
    return (
        f"LABEL_STUDIO_API_KEY is not accepted by {url} ({reason}){kind}; {token_advice(release)}, and "
        f"{where_to_put_token()}"
    )


def of_nobody(url: str, status: int) -> str:
    """The sentence on a token whose account belongs to no organisation, for which Label Studio answers a status."""
    return (
        f"the account of LABEL_STUDIO_API_KEY belongs to no organisation of {url} any more (Label Studio answers "
        f"{status}); invite it there again (Organization > Members > Add Members), or make a token of another account, "
        f"and {where_to_put_token()}"
    )
