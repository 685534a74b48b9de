"""Which certificates are trusted over HTTPS: the public authorities, and a house's own that CDSEL_CA_BUNDLE names."""

from __future__ import annotations

import ssl
from functools import lru_cache

import httpx

from cdsel_backend.settings import ca_bundle


def certificates() -> ssl.SSLContext:
    """The context for all that is asked over HTTPS.

    Raises:
        ValueError: CDSEL_CA_BUNDLE names no file of certificates.
    """
    return _context(ca_bundle())


@lru_cache(maxsize=4)
def _context(bundle: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    if bundle:
        try:
            context.load_verify_locations(cafile=bundle)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                f"CDSEL_CA_BUNDLE = {bundle!r}: no file of certificates in PEM form ({error})"
            ) from error
    return context


def trust_hint(reason: str) -> str:
    """What to do where a request failed for this reason: "" unless it is a certificate that is not trusted."""
    if "CERTIFICATE_VERIFY_FAILED" not in reason:
        return ""
    return (
        "; where it comes from an authority of your own, name the file with that authority's certificate (PEM) in "
        "CDSEL_CA_BUNDLE"
    )
