"""What is wrong where a bucket, or another storage that fsspec reads, fails, and what to do about it.

Each storage's library has exceptions of its own, and most are not installed: they are known by what they are called.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum

from cdsel_backend.pool.source import SourceError

_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}

_AWAY = {
    *("ConnectionError", "TimeoutError", "HTTPClientError"),  # of Python, botocore, requests and urllib3
    *(
        "ClientConnectionError",
        "ClientPayloadError",
        "ServerTimeoutError",
        "FSTimeoutError",
    ),  # aiohttp, fsspec
    *("ServiceRequestError", "ServiceResponseError", "TransportError"),  # azure, google
}
_REFUSED = {
    *("PermissionError", "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
    *("ProfileNotFound", "SSOError", "TokenRetrievalError", "UnauthorizedSSOTokenError"),
    *("ClientAuthenticationError", "GoogleAuthError"),
}
_BUSY = {errno.EBUSY, errno.EREMOTEIO} if hasattr(errno, "EREMOTEIO") else {errno.EBUSY}

_KEYS: Mapping[str, str] = {
    "s3": (
        "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of an account that may list and read there, "
        "and AWS_REGION; of another S3 storage than Amazon's AWS_ENDPOINT_URL"
    ),
    "gcs": "set GOOGLE_APPLICATION_CREDENTIALS to the key file of an account that may list and read there",
    "azure": (
        "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or "
        "AZURE_STORAGE_SAS_TOKEN, of an account that may list and read there"
    ),
}
_ADDRESSES: Mapping[str, str] = {
    "s3": "; another S3 storage than Amazon's is at AWS_ENDPOINT_URL",
    "gcs": "; an emulator is at STORAGE_EMULATOR_HOST",
    "azure": "; its address is made of AZURE_STORAGE_ACCOUNT_NAME, or AZURE_STORAGE_CONNECTION_STRING says it",
}


class Trouble(Enum):
    """What an error of a storage is about."""

    MISSING = "missing"  # no such bucket, prefix or file
    REFUSED = "refused"  # the storage answers, and this account may not
    AWAY = "away"  # it does not answer, or asks to be left alone for now
    OTHER = "other"


def is_remote(address: str) -> bool:
    """Whether an address is of a bucket or another storage, not a path of this machine."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme not in ("file", "local")


def extra_of(address: str) -> str | None:
    """The extra of this package that reads a storage, by an address there."""
    return _EXTRAS.get(address.partition("://")[0])


def trouble_of(error: BaseException) -> Trouble:
    """What an error of a storage's library is about, by its kind, its status and what it came of."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        names = {kind.__name__ for kind in type(cause).__mro__}
        status = _status(cause)
        if "FileNotFoundError" in names or "ResourceNotFoundError" in names or status == 404:
            return Trouble.MISSING
        if names & _REFUSED or status in (401, 403):
            return Trouble.REFUSED
        busy = isinstance(cause, OSError) and cause.errno in _BUSY
        if names & _AWAY or busy or status in (408, 429) or status >= 500:
            return Trouble.AWAY
        cause = cause.__cause__ or cause.__context__
    return Trouble.OTHER


def fix_of(address: str, trouble: Trouble) -> str:
    """What to do about it, in the terms of the storage that an address is of."""
    extra = extra_of(address) or ""
    if trouble is Trouble.MISSING:
        return f"see the name of its bucket and prefix, and that a file lies there{_ADDRESSES.get(extra, '')}"
    if trouble is Trouble.REFUSED:
        return _KEYS.get(extra, "see the credentials")
    if trouble is Trouble.AWAY:
        return f"see that it is up and can be reached from this machine{_ADDRESSES.get(extra, '')}"
    return "see its name, the network and the credentials"


def words_of(error: BaseException) -> str:
    """What an error says, in one line that is the same for all files: without the path of an address."""
    reason = str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
    reason = re.split(r"\s*RequestId:", reason)[0]
    return " ".join(re.sub(r"(https?://[^/\s\"']+)[^\s\"']*", r"\1", reason).split())[:200]


def said_of(address: str, error: BaseException) -> str:
    """What a storage's error says of an address, and the fix, to be put after the address and a blank."""
    trouble = trouble_of(error)
    how = {
        Trouble.MISSING: "is not there",
        Trouble.REFUSED: "refuses",
        Trouble.AWAY: "does not answer",
        Trouble.OTHER: "cannot be read",
    }[trouble]
    return f"{how} ({words_of(error)}): {fix_of(address, trouble)}"


@contextmanager
def blaming(address: str) -> Iterator[None]:
    """Raise whatever a storage's library raises as SourceError."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{address} {said_of(address, error)}") from error


def _status(error: BaseException) -> int:
    """The HTTP status that an error carries; 0 for none."""
    for name in ("status_code", "status", "code"):
        value = getattr(error, name, None)
        if str(value).isdecimal():
            return int(str(value))
    response = getattr(error, "response", None)
    meta = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return int(meta.get("HTTPStatusCode", 0))
