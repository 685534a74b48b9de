"""DICOM files: a picture as a viewer shows it.

Pixels are decoded by pydicom, compressed ones by pylibjpeg (extra `dicom`).
"""

from __future__ import annotations

import io
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.depth import PART, USED, parts
from cdsel_backend.pool.dicom import UnreadableDicom, read_header, reading
from cdsel_backend.pool.lookup_tables import LookupTable, UnreadableTable, read_table, white_of_palette

if TYPE_CHECKING:
    from pydicom import Dataset

_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # how a window is applied


def render(data: bytes, *, max_pixels: int, frame: int | None = None) -> Image.Image:
    """Decode a DICOM file as a viewer shows it, as an 8-bit RGB picture.

    The modality transform is applied, then the first VOI LUT or window of the header. Where it has none, stored values
    that use their range are shown as those of any other file (`depth.to_eight_bits`), so that a picture is the same
    whatever it was saved as; others are stretched so that their .5 and 99.5 percentiles become black and white.
    MONOCHROME1, or an inverse presentation, is turned so that the picture is as on a light box; colours become RGB.

    Args:
        data: the file's bytes.
        max_pixels: refuse larger frames before their pixels are decoded.
        frame: which frame, from 0; None takes the middle one.

    Raises:
        UnreadableDicom: no picture in it, damaged, too large, no such frame, or pydicom or a decoder is missing.
    """
    with reading():
        dataset = read_header(io.BytesIO(data))
        if (
            not dataset.get("Rows")
            or not dataset.get("Columns")
            or "PhotometricInterpretation" not in dataset
        ):
            raise _without_picture(dataset)
        width, height = int(dataset.Columns), int(dataset.Rows)
        if width * height > max_pixels:
            raise UnreadableDicom(f"the image is too large: {width} x {height} is over {max_pixels:,} pixels")
        frames = int(dataset.get("NumberOfFrames") or 1)
        index = frames // 2 if frame is None else frame
        if not 0 <= index < frames:
            raise UnreadableDicom(
                f"the DICOM file has {number_of(frames, 'frame')}; there is no frame {index} (from 0)"
            )
        kept = _without_pixels(dataset)
        values = _values(data, kept, index)
        _take_from_groups(kept, index)
        for name, usual in (("BitsStored", 8 * values.itemsize), ("PixelRepresentation", 0)):
            kept.setdefault(name, usual)  # files of floating-point values have neither
        if str(kept.get("VOILUTFunction") or "") not in _FUNCTIONS:
            kept.pop("VOILUTFunction", None)  # empty, or of nobody's: as where there is none
        _keep_numbers(kept)
        return Image.fromarray(_to_rgb(values, kept))


def _without_picture(dataset: Dataset) -> UnreadableDicom:
    from pydicom.uid import UID

    meta = getattr(dataset, "file_meta", None) or dataset
    storage = UID(str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""))
    kinds = [str(dataset.get("Modality") or ""), storage.name]
    said = ", ".join(filter(None, kinds))
    fix = ""
    if not said or "Image Storage" in said:
        fix = ": its pixels were taken out, or it is cut short; bring it here again"
    return UnreadableDicom(f"a DICOM file without a picture{f' ({said})' if said else ''}{fix}")


def _values(data: bytes, header: Dataset, frame: int) -> NDArray[Any]:
    """The stored values of a frame: (h, w), or (h, w, 3) as RGB; `header` is brought up to date with them."""
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    spare = int(header.get("HighBit") or 0) + 1 - int(header.get("BitsStored") or 0)
    if 0 < spare < 8:
        with suppress(Exception):
            whole = dcmread(io.BytesIO(data), force=True)
            whole.BitsStored = int(whole.HighBit) + 1
            values = pixel_array(whole, index=frame)
            if not (values & (2**spare - 1)).any():  # in the upper bits of their words, which pydicom cuts
                return values >> spare
    with suppress(Exception):
        return pixel_array(io.BytesIO(data), ds_out=header, index=frame)
    # Deflated as a whole, without a header of its own, or with something odd before the pixels: then all of it is read.
    whole = dcmread(io.BytesIO(data), force=True)
    if not any(whole.get(name) for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise _without_picture(header)
    meta = getattr(whole, "file_meta", None) or FileMetaDataset()
    if "TransferSyntaxUID" not in meta:
        implicit, little = whole.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
        whole.file_meta = meta
    # What viewers do without, and pydicom does not.
    for read in (whole, header):
        read.PhotometricInterpretation = _kind_of_pixels(read)
        for name, usual in (
            ("SamplesPerPixel", 1 if read.PhotometricInterpretation in _ONE_SAMPLE else 3),
            ("BitsStored", read.get("BitsAllocated")),
            ("PixelRepresentation", 0),
        ):
            if read.get(name) is None and "PixelData" in whole:
                setattr(read, name, usual)
    if whole.get("SamplesPerPixel", 1) > 1:
        whole.PlanarConfiguration = int(whole.get("PlanarConfiguration") or 0)
    return pixel_array(whole, index=frame)


def _kind_of_pixels(dataset: Dataset) -> str:
    """The Photometric Interpretation as the standard spells it; where it is empty, what samples are in use for."""
    usual = "RGB" if (dataset.get("SamplesPerPixel") or 1) > 1 else "MONOCHROME2"
    return str(dataset.PhotometricInterpretation or "").strip().upper() or usual


def _take_from_groups(dataset: Dataset, frame: int) -> None:
    """Put what a file of many frames says of all of them, or of one, where that of a single picture stands."""
    for name, at in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame)):
        groups = dataset.get(name) or ()
        for kind in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for group in (groups[at].get(kind) or ()) if at < len(groups) else ():
                dataset.update({element.tag: element for element in group})


def _keep_numbers(dataset: Dataset) -> None:
    """Leave one number of each field by which values are shown, the first; what is none counts as not there."""
    for name in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"):
        number = _first_number(dataset.get(name))
        dataset.pop(name, None)
        if number is not None and (number or name != "RescaleSlope"):  # a slope of 0 leaves no picture
            setattr(dataset, name, number)


def _first_number(value: Any) -> float | None:
    """The first number of a field, which may have several; None where it is none."""
    first = value if isinstance(value, str) or not hasattr(value, "__len__") else next(iter(value), None)
    try:
        number = float(str(first).replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _without_pixels(dataset: Dataset) -> Dataset:
    """A copy whose values are not read yet: one that cannot be, and which no picture needs, costs nothing."""
    from pydicom import Dataset

    kept = Dataset()
    kept.update({tag: dataset.get_item(tag) for tag in list(dataset.keys())})
    return kept


def _to_rgb(values: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    """Decoded values (h, w) or (h, w, 3) -> (h, w, 3) uint8."""
    from pydicom.pixels.processing import apply_color_lut

    kind = str(dataset.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        white = white_of_palette(dataset)
        return _scaled(apply_color_lut(values, dataset)[..., :3], 0, white)
    if values.ndim == 3:
        return _scaled(values[..., :3], 0, 2 ** int(dataset.BitsStored) - 1)
    if values.ndim != 2 or not kind.startswith("MONOCHROME"):
        raise UnreadableDicom(f"a DICOM picture of a kind that is not known ({kind}, shape {values.shape})")
    tables = _Tables.of(dataset)
    top = _top_of_range(values, dataset, tables)
    low, high = (0.0, float(top)) if top else _limits(values, dataset, tables)
    # Files of the modules for digital X-rays say both of one inversion (PS3.3 C.8.11.3: Presentation LUT Shape).
    inverse = kind == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    shown = np.empty((*values.shape, 3), dtype=np.uint8)
    for part in parts(values):
        if top > 255:
            grey = (values[part].astype(np.float64) * (256 / (top + 1))).clip(0, 255).astype(np.uint8)
        else:
            grey = _scaled(values[part] if top else _windowed(values[part], dataset, tables), low, high)
        shown[part] = (255 - grey if inverse else grey)[..., None]
    return shown


@dataclass(frozen=True, eq=False)
class _Tables:
    """The tables of a header: that of the modality transform, and the first of those for viewing (VOI)."""

    modality: LookupTable | None
    viewing: LookupTable | None

    @classmethod
    def of(cls, dataset: Dataset) -> _Tables:
        """Read them. Raises UnreadableDicom for one that does not hold what its descriptor says."""
        signed = dataset.get("PixelRepresentation") == 1
        below = signed or _rescale(dataset)[1] < 0
        try:
            modality = read_table(dataset, "ModalityLUTSequence", signed=signed)
            return cls(modality, read_table(dataset, "VOILUTSequence", signed=below and modality is None))
        except UnreadableTable as error:
            raise UnreadableDicom(str(error)) from error


def _rescale(dataset: Dataset) -> tuple[float, float]:
    """Slope and intercept of the modality transform."""
    return float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))


def _windowed(values: NDArray[Any], dataset: Dataset, tables: _Tables) -> NDArray[Any]:
    """Stored values after the modality transform and the header's table or window, where it has one."""
    from pydicom.pixels.processing import apply_windowing

    slope, intercept = _rescale(dataset)
    modal = (
        tables.modality.apply(values) if tables.modality else values.astype(np.float64) * slope + intercept
    )
    given = np.nan_to_num(np.asarray(modal, dtype=np.float64))
    if tables.viewing:
        return tables.viewing.apply(given)
    return np.asarray(apply_windowing(given, dataset)) if _window(dataset) else given


def _limits(values: NDArray[Any], dataset: Dataset, tables: _Tables) -> tuple[float, float]:
    """What `_windowed` gives for black and for white."""
    from pydicom.pixels.processing import apply_windowing

    if tables.viewing:
        return 0.0, tables.viewing.white
    if _window(dataset):
        # What the window's ends become depends on the header: two values far outside show it.
        low, high = map(float, apply_windowing(np.array([-1e12, 1e12]), dataset))
        return low, high
    sample = _windowed(_sample(values, dataset), dataset, tables)
    low, high = map(float, np.percentile(sample, [0.5, 99.5]))
    return (low, high) if high > low else (float(sample.min()), float(sample.max()))


def _top_of_range(values: NDArray[Any], dataset: Dataset, tables: _Tables) -> int:
    """The largest that stored values (h, w) can be, where nothing says how to show them and they use that range, or 0.

    Where a header has no table and no window the standard takes stored values for what is to be seen (PS3.3 A.8.3.4).
    """
    stated = _rescale(dataset) != (1, 0) or _window(dataset) or tables.viewing or tables.modality
    if stated or values.dtype.kind != "u":
        return 0
    bits = int(dataset.BitsStored)
    top: int = 2**bits - 1
    if bits <= 8:
        return top
    low, high = map(float, np.percentile(_sample(values, dataset), [0.5, 99.5]))
    steps = (2 ** (bits - 8), top // 255)  # between the values of a picture of 8 bits
    used = high - low >= USED * top or any(not (values % step).any() for step in steps)
    return top if used else 0


def _sample(values: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Stored values (m,) of a picture, evenly spaced, without what is not finite and what is padding."""
    step = max(1, int(np.ceil(np.sqrt(values.size / PART))))
    sample = values[::step, ::step]
    finite = np.isfinite(sample) if sample.dtype.kind == "f" else np.ones(sample.shape, dtype=bool)
    padding = dataset.get("PixelPaddingValue")
    inside = sample[finite & (sample != padding)] if padding is not None else sample[finite]
    return inside if inside.size else sample.ravel()


def _window(dataset: Dataset) -> bool:
    """Whether the header has a window that can be applied."""
    least = 1 if dataset.get("VOILUTFunction", "LINEAR") == "LINEAR" else np.nextafter(0, 1)
    return "WindowCenter" in dataset and float(dataset.get("WindowWidth", 0)) >= least


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """`low` becomes black and `high` white, whichever is larger: under a slope below 0 a window gives the reverse."""
    span = float(high) - float(low) or 1e-12
    return np.asarray((np.clip((values.astype(np.float32) - low) / span, 0, 1) * 255).round(), dtype=np.uint8)
