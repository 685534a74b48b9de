"""The headers of DICOM files, of which only what a stated list allows is given; pictures are in `dicom_pictures`.

What identifies a patient, a person or an institution is never returned as it is.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import math
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from pydicom import Dataset

_MOST_INFLATED = 2**30  # bytes of a file that is deflated as a whole
_DEFLATED = b"1.2.840.10008.1.2.1.99"
OLDEST = 90  # years: higher ages identify, and become this
MOST_YEARS = 115  # between birth and study that are believed
HASH_DIGITS = 12

ALLOWED = (
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DetectorType",
    "BodyPartExamined",
    "ViewPosition",
    "PatientPosition",
    "PatientOrientation",
    "Laterality",
    "ImageLaterality",
    "PatientSex",
    "KVP",
    "Exposure",
    "ExposureTime",
    "XRayTubeCurrent",
    "DistanceSourceToDetector",
    "SliceThickness",
    "MagneticFieldStrength",
    "ConvolutionKernel",
    "ScanningSequence",
    "TransducerType",
    "PhotometricInterpretation",
    "LossyImageCompression",
    "BurnedInAnnotation",
    "Rows",
    "Columns",
    "BitsStored",
    "NumberOfFrames",
)
"""Fields whose value becomes a variable as it is."""
HASHED = ("PatientID", "StudyInstanceUID", "InstitutionName", "StationName", "DeviceSerialNumber")
"""Fields of which only a keyed hash is given: equal stays equal, and nobody without the key can tell what it was."""
VARIABLES = frozenset({*ALLOWED, *HASHED, "PatientAge"})
"""What `describe` may give."""

_BARE = re.compile(
    rb"[\x02\x08]\0.\0(?:[A-Z]{2}[^\0]\0|[^\0]\0\0\0)"  # group 2 or 8, little endian, with its VR or without
    rb"|\0[\x02\x08]\0.[A-Z]{2}\0[^\0]",
    re.DOTALL,
)
"""How the data of a file without a preamble begin: an element of an even length below 256."""


class UnreadableDicom(ValueError):
    """A DICOM file that gives no picture; the message says why, and the fix where there is one."""


def is_dicom(data: bytes) -> bool:
    """Whether a file's first 132 bytes or more are those of a DICOM file, of an old one without a preamble, too."""
    return data[128:132] == b"DICM" or _BARE.match(data) is not None


def describe(file: BinaryIO, *, key: bytes) -> dict[str, str | float]:
    """Read the variables of a DICOM file's header: `ALLOWED` fields, `HASHED` ones by their hash, the age in years.

    Args:
        file: the file; its pixels are not read.
        key: of the hashes; a project's own secret.

    Raises:
        UnreadableDicom: no DICOM file, or pydicom is missing.
    """
    with reading():
        dataset = read_header(file)
        found: dict[str, str | float] = {}
        for name in ALLOWED:
            value = _plain(_value(dataset, name))
            if value is not None:
                found[name] = value
        for name in HASHED:
            text = str(_value(dataset, name) or "").strip()
            if text:
                found[name] = keyed_hash(key, name, text)
        age = _age(dataset)
        if age is not None:
            found["PatientAge"] = age
        return found


def burned_in(data: bytes) -> bool:
    """Whether a DICOM file's header says that its pixels show who the patient is.

    Raises:
        UnreadableDicom: as `describe`.
    """
    with reading():
        return str(read_header(io.BytesIO(data)).get("BurnedInAnnotation") or "").strip().upper() == "YES"


def read_header(file: BinaryIO) -> Dataset:
    """A file's header, without its pixels. Raises UnreadableDicom for one that would fill the memory."""
    from pydicom import dcmread

    _refuse_bomb(file)
    return dcmread(file, stop_before_pixels=True, force=True)


def _refuse_bomb(file: BinaryIO) -> None:
    """Raise UnreadableDicom for a deflated file that would fill the memory; leave the file at its start."""
    head = file.read(2048)
    if head[128:132] == b"DICM" and _DEFLATED in head:
        # What is deflated begins where the header's first element, of 12 bytes, says.
        file.seek(144 + int.from_bytes(head[140:144], "little"))
        inflated, stream = 0, zlib.decompressobj(-zlib.MAX_WBITS)
        while not stream.eof and (part := stream.unconsumed_tail or file.read(2**16)):
            inflated += len(stream.decompress(part, 2**20))
            if inflated > _MOST_INFLATED:
                raise UnreadableDicom(
                    f"the deflated DICOM file holds more than {_MOST_INFLATED // 2**20} MiB"
                )
    file.seek(0)


def keyed_hash(key: bytes, name: str, text: str) -> str:
    """The hash that stands for a text of the field `name`."""
    digest = hmac.new(key, f"{name}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256)
    return digest.hexdigest()[:HASH_DIGITS]


def _value(dataset: Dataset, name: str) -> Any:
    """The value of a field; None where there is none, or it cannot be read: the others say what they say."""
    with suppress(Exception):  # whatever pydicom runs into
        return dataset.get(name)
    return None


def _plain(value: Any) -> str | float | None:
    """A header's value as a variable: a number, or text of at most 64 characters; None where it is empty."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) and hasattr(value, "__len__"):
        value = "\\".join(str(part) for part in value)
    try:
        number = float(value)
        # No database takes others, and a maker may be called "nan" by whoever took it out.
        if math.isfinite(number):
            return int(number) if number.is_integer() else number
    except (TypeError, ValueError):
        pass
    return str(value).replace("\0", "").strip()[:64] or None


def _age(dataset: Dataset) -> float | None:
    """The patient's age in years, as stated, else by the date of birth, of which no more than that is given.

    So it is in whole years from two on, below in whole months.
    """
    stated = _years(str(_value(dataset, "PatientAge") or ""))
    born = _date(dataset, "PatientBirthDate")
    dates = (_date(dataset, name) for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"))
    taken = next(filter(None, dates), None)
    if stated is not None or born is None or taken is None:
        return stated
    months = 12 * (taken.year - born.year) + taken.month - born.month - (taken.day < born.day)
    if not 0 <= months < 12 * MOST_YEARS:  # as of dates that stand for those that were taken out
        return None
    return min(float(OLDEST), months // 12 if months >= 24 else round(months / 12, 2))


def _date(dataset: Dataset, name: str) -> date | None:
    match = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", str(_value(dataset, name) or "").strip())
    with suppress(ValueError):  # a day that there is not
        return date(*map(int, match.groups())) if match else None
    return None


def _years(age: str) -> float | None:
    """`045Y`, `007M`, `003W`, `010D` as years, at most `OLDEST`."""
    match = re.fullmatch(r"\s*(\d{1,4})\s*([YMWD])\s*", age)
    if match is None:
        return None
    years = int(match[1]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[match[2]]
    return min(float(OLDEST), round(years, 2))


@contextmanager
def reading() -> Iterator[None]:
    """Whatever pydicom raises, as UnreadableDicom."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise UnreadableDicom(
            "a DICOM file, and pydicom is not installed: install cdsel-backend[dicom]"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values outside the standard, which are many
            yield
    except UnreadableDicom:
        raise
    except Exception as error:  # a damaged header raises whatever it runs into
        reason = " ".join(str(error).split())
        if "missing dependencies" in reason:
            reason = f"no decoder for its compression is installed (install cdsel-backend[dicom]): {reason}"
        if "MPEG" in reason or "HEVC" in reason:
            raise UnreadableDicom(
                "a video in a DICOM file, which is not read: export its frames as pictures"
            ) from error
        if "less than expected" in reason:
            raise UnreadableDicom("the DICOM file ends too early: bring it here again") from error
        raise UnreadableDicom(
            f"the DICOM file is damaged or of a kind that is not read ({reason[:300]}): export it again, uncompressed"
        ) from error
