"""DICOM files: a picture as a viewer shows it, and of the header only what a stated list allows.

Pixels are decoded by pydicom, compressed ones by pylibjpeg (extra `dicom`). What identifies a patient, a person or an
institution is never returned as it is.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from pydicom import Dataset

OLDEST = 90  # years: higher ages identify, and become this
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


class UnreadableDicom(ValueError):
    """A DICOM file that gives no picture; the message says why, and the fix where there is one."""


def is_dicom(data: bytes) -> bool:
    """Whether a file's first 132 bytes or more are those of a DICOM file."""
    return data[128:132] == b"DICM"


def render(data: bytes, *, max_pixels: int, frame: int | None = None) -> Image.Image:
    """Decode a DICOM file as a viewer shows it, as an 8-bit RGB picture.

    The modality transform is applied, then the first VOI LUT or window of the header; where it has none, grey is
    stretched so that its .5 and 99.5 percentiles become black and white. MONOCHROME1 and an inverse presentation are
    turned so that the picture is as on a light box; colours become RGB.

    Args:
        data: the file's bytes.
        max_pixels: refuse larger frames before their pixels are decoded.
        frame: which frame, from 0; None takes the middle one.

    Raises:
        UnreadableDicom: no picture in it, damaged, too large, no such frame, or pydicom or a decoder is missing.
    """
    with _reading():
        from pydicom.pixels.utils import pixel_array

        dataset = _header(io.BytesIO(data))
        if "Rows" not in dataset or "Columns" not in dataset or "PhotometricInterpretation" not in dataset:
            kind = f" ({dataset.Modality})" if dataset.get("Modality") else ""
            raise UnreadableDicom(f"a DICOM file without a picture{kind}")
        width, height = int(dataset.Columns), int(dataset.Rows)
        if width * height > max_pixels:
            raise UnreadableDicom(f"the image is too large: {width} x {height} is over {max_pixels:,} pixels")
        frames = int(dataset.get("NumberOfFrames") or 1)
        index = frames // 2 if frame is None else frame
        if not 0 <= index < frames:
            raise UnreadableDicom(f"the DICOM file has {frames} frames; there is no frame {index} (from 0)")
        kept = _without_pixels(dataset)
        values = pixel_array(io.BytesIO(data), ds_out=kept, index=index)
        return Image.fromarray(_to_rgb(values, kept))


def describe(file: BinaryIO, *, key: bytes) -> dict[str, str | float]:
    """Read the variables of a DICOM file's header: `ALLOWED` fields, `HASHED` ones by their hash, the age in years.

    Args:
        file: the file; its pixels are not read.
        key: of the hashes; a project's own secret.

    Raises:
        UnreadableDicom: no DICOM file, or pydicom is missing.
    """
    with _reading():
        dataset = _header(file)
        found: dict[str, str | float] = {}
        for name in ALLOWED:
            value = _plain(dataset.get(name))
            if value is not None:
                found[name] = value
        for name in HASHED:
            text = str(dataset.get(name) or "").strip()
            if text:
                digest = hmac.new(key, f"{name}\0{text}".encode(), hashlib.sha256)
                found[name] = digest.hexdigest()[:HASH_DIGITS]
        age = _years(str(dataset.get("PatientAge") or ""))
        if age is not None:
            found["PatientAge"] = age
        return found


def burned_in(data: bytes) -> bool:
    """Whether a DICOM file's header says that its pixels show who the patient is.

    Raises:
        UnreadableDicom: as `describe`.
    """
    with _reading():
        return str(_header(io.BytesIO(data)).get("BurnedInAnnotation") or "").strip().upper() == "YES"


def _header(file: BinaryIO) -> Dataset:
    from pydicom import dcmread

    return dcmread(file, stop_before_pixels=True)


def _without_pixels(dataset: Dataset) -> Dataset:
    from pydicom import Dataset

    kept = Dataset()
    kept.update({element.tag: element for element in dataset})
    return kept


def _to_rgb(values: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    """Decoded values (h, w) or (h, w, 3) -> (h, w, 3) uint8."""
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

    kind = str(dataset.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        return _scaled(values[..., :3], 0, 2 ** max(bits, 8 * values.itemsize if bits > 8 else 8) - 1)
    if values.ndim == 3:
        return _scaled(values[..., :3], 0, 2 ** int(dataset.BitsStored) - 1)
    if values.ndim != 2 or not kind.startswith("MONOCHROME"):
        raise UnreadableDicom(f"a DICOM picture of a kind that is not known ({kind}, shape {values.shape})")
    values = np.asarray(apply_modality_lut(values, dataset), dtype=np.float64)
    if dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0]
        low, high = 0.0, 2.0 ** int(table.LUTDescriptor[2]) - 1
        values = apply_voi_lut(values.round().astype(np.int64), dataset)
    elif _window(dataset):
        # What the window's ends become depends on the header: two values far outside show it.
        low, high = map(float, apply_voi_lut(np.array([-1e12, 1e12]), dataset))
        values = apply_voi_lut(values, dataset)
    else:
        low, high = map(float, np.percentile(values, [0.5, 99.5]))
        if high <= low:
            low, high = float(values.min()), float(values.max())
    inverse = (kind == "MONOCHROME1") != (dataset.get("PresentationLUTShape") == "INVERSE")
    grey = _scaled(values, low, high)
    return np.repeat((255 - grey if inverse else grey)[..., None], 3, axis=2)


def _window(dataset: Dataset) -> bool:
    """Whether the header has a window that can be applied."""
    try:
        width = dataset.WindowWidth
        width = float(width[0] if isinstance(width, (list, tuple)) or hasattr(width, "__len__") else width)
    except (AttributeError, TypeError, ValueError, IndexError):
        return False
    return dataset.get("WindowCenter") not in (None, "") and width >= 1


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    span = max(float(high) - float(low), 1e-12)
    return np.asarray((np.clip((values.astype(np.float32) - low) / span, 0, 1) * 255).round(), dtype=np.uint8)


def _plain(value: Any) -> str | float | None:
    """A header's value as a variable: a number, or text of at most 64 characters; None where it is empty."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) and hasattr(value, "__len__"):
        return "\\".join(str(part) for part in value)[:64] or None
    try:
        number = float(value)
        return int(number) if number.is_integer() else number
    except (TypeError, ValueError):
        return str(value).strip()[:64] or None


def _years(age: str) -> float | None:
    """`045Y`, `007M`, `003W`, `010D` as years, at most `OLDEST`."""
    match = re.fullmatch(r"\s*(\d{1,4})\s*([YMWD])\s*", age)
    if match is None:
        return None
    years = int(match[1]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[match[2]]
    return min(float(OLDEST), round(years, 2))


@contextmanager
def _reading() -> Iterator[None]:
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
        raise UnreadableDicom(
            f"the DICOM file is damaged or of a kind that is not read ({reason[:300]})"
        ) from error
