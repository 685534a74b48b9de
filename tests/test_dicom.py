"""DICOM files as pictures and as variables: pydicom's own test files, and drawn ones whose right picture is known."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
from pydicom import Dataset  # noqa: E402
from pydicom.dataset import FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage  # noqa: E402

from cdsel_backend.pool.browser import for_browser  # noqa: E402
from cdsel_backend.pool.decode import UnreadableImage, decode  # noqa: E402
from cdsel_backend.pool.dicom import UnreadableDicom, burned_in, describe, is_dicom  # noqa: E402
from cdsel_backend.pool.dicom_pictures import render  # noqa: E402

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
KEY = b"a secret"
LIMIT = 10**8


def draw(values: np.ndarray, **fields: object) -> bytes:
    """A DICOM file of grey (h, w), frames (f, h, w) or colour (h, w, 3)."""
    bits = values.dtype.itemsize * 8
    colour = values.ndim == 3 and values.shape[-1] == 3
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = values.shape[-2:] if not colour else values.shape[:2]
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    if values.ndim == 3 and not colour:
        dataset.NumberOfFrames = len(values)
    dataset.PixelData = values.tobytes()
    for name, value in fields.items():
        setattr(dataset, name, value)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def grey(data: bytes, **options: int) -> np.ndarray:
    picture = np.asarray(render(data, max_pixels=LIMIT, **options))
    assert picture.dtype == np.uint8
    assert (picture == picture[..., :1]).all()
    return picture[..., 0].astype(int)


RAMP = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (8, 1))  # 64 steps of 12 bits


def test_a_window_shows_what_lies_in_it() -> None:
    shown = grey(draw(RAMP, BitsStored=12, HighBit=11, WindowCenter=1024, WindowWidth=512))[0]
    assert set(shown[: 768 // 64 + 1]) == {0}
    assert set(shown[1280 // 64 :]) == {255}
    assert np.all(np.diff(shown) >= 0)
    assert abs(shown[1024 // 64] - 128) <= 2


def test_the_window_counts_in_units_after_rescaling() -> None:
    hounsfield = draw(RAMP, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    shown = grey(hounsfield)[0]
    assert shown[(1024 - 192) // 64] == 0  # -192 HU
    assert shown[(1024 + 256) // 64] == 255  # 256 HU
    assert 90 < shown[1024 // 64] < 115  # 0 HU


def test_the_first_of_several_windows_and_a_narrow_image_in_a_wide_one() -> None:
    flat = np.full((4, 4), 1000, dtype=np.uint16)
    assert set(grey(draw(flat, WindowCenter=[2000, 1000], WindowWidth=[4000, 10])).ravel()) == {64}


def test_monochrome1_is_turned() -> None:
    one = grey(draw(RAMP, PhotometricInterpretation="MONOCHROME1", WindowCenter=2048, WindowWidth=4096))
    two = grey(draw(RAMP, WindowCenter=2048, WindowWidth=4096))
    assert np.abs(one + two - 255).max() <= 1
    for kind, shape, turned in (
        ("MONOCHROME1", "INVERSE", True),  # one inversion, which digital X-rays state twice
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "IDENTITY", False),
    ):
        shown = grey(draw(RAMP, PhotometricInterpretation=kind, PresentationLUTShape=shape))
        plain = grey(draw(RAMP))
        assert np.abs(shown - (255 - plain if turned else plain)).max() <= 1, (kind, shape)


def test_a_voi_table_is_applied() -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (np.arange(4096) >= 2048).astype("<u2") * 65535
    table["LUTData"].VR = "US"
    data = draw(RAMP, BitsStored=12, HighBit=11)
    dataset = pydicom.dcmread(io.BytesIO(data))
    table.LUTData = table.LUTData.tolist()
    dataset.VOILUTSequence = [table]
    out = io.BytesIO()
    dataset.save_as(out)
    shown = grey(out.getvalue())[0]
    assert set(shown[:32]) == {0}
    assert set(shown[32:]) == {255}


def test_a_voi_table_of_fewer_bits_than_it_says_is_not_dark() -> None:
    def shown(bits: int, values: np.ndarray) -> np.ndarray:
        table = Dataset()
        table.LUTDescriptor, table.LUTData = [4096, 0, bits], values.astype("<u2").tobytes()
        return grey(draw(RAMP, VOILUTSequence=[table]))

    rising = np.arange(4096)
    assert np.abs(shown(16, rising) - shown(12, rising)).max() == 0
    assert shown(12, rising // 2).max() == 126  # half of the range: dark because somebody meant it


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_slope_below_zero_turns_values_and_not_the_window(function: str) -> None:
    window = {"WindowWidth": 800, "VOILUTFunction": function}
    falling = grey(draw(RAMP, RescaleSlope="-1", RescaleIntercept="4095", WindowCenter=1000, **window))
    assert np.abs(falling - grey(draw(4095 - RAMP, WindowCenter=1000, **window))).max() <= 1


def test_a_window_is_applied_whatever_its_function_is_called() -> None:
    wanted = grey(draw(RAMP, WindowCenter=1000, WindowWidth=800))
    for function in ("", "OTHER"):
        assert (grey(draw(RAMP, WindowCenter=1000, WindowWidth=800, VOILUTFunction=function)) == wanted).all()
    small = {"RescaleSlope": "0.0001", "RescaleIntercept": "0", "VOILUTFunction": "LINEAR_EXACT"}
    narrow = grey(draw(RAMP, WindowCenter=0.1, WindowWidth=0.05, **small))  # of parametric maps
    assert (np.unique(narrow[RAMP < 740]), np.unique(narrow[RAMP > 1260])) == (0, 255)


def test_without_a_window_grey_is_stretched() -> None:
    dark = (RAMP // 100).astype(np.uint16)
    assert (grey(draw(dark)).min(), grey(draw(dark)).max()) == (0, 255)
    assert set(grey(draw(np.full((4, 4), 7, dtype=np.uint16))).ravel()) <= {0, 255}
    signed = (RAMP.astype(np.int16) - 2000).astype(np.int16)
    np.testing.assert_allclose(grey(draw(signed)), grey(draw(RAMP)), atol=2)


def test_a_picture_is_the_same_whatever_it_was_saved_as() -> None:
    """A site that exports DICOM files and one that exports PNG of the same pictures have equal vectors."""
    eight = (
        np.random.default_rng(0).integers(20, 60, (16, 16)).astype(np.uint8)
    )  # dark, and no stretch shows it so
    wide = eight.astype(np.uint16)
    saved = {
        "8 bits": draw(eight),
        "16 bits": draw(wide * 257),
        "12 bits": draw(wide * 16, BitsStored=12, HighBit=11),
        "rescaled by nothing": draw(eight, RescaleSlope="1", RescaleIntercept="0"),
        "turned": draw(255 - eight, PhotometricInterpretation="MONOCHROME1"),
    }
    for how, data in saved.items():
        assert (grey(data) == eight).all(), how
    bright = np.random.default_rng(0).integers(0, 4096, (16, 16)).astype(np.uint16)
    assert (grey(draw(bright, BitsStored=12, HighBit=11)) == bright // 16).all()
    assert grey(draw(bright)).max() == 255  # of 16 bits they use few


def test_the_middle_frame_or_the_one_that_was_chosen() -> None:
    frames = np.stack([np.full((4, 4), value, dtype=np.uint8) for value in (10, 20, 30, 40, 50)])
    data = draw(frames, WindowCenter=128, WindowWidth=256)
    assert set(grey(data).ravel()) == {30}
    assert set(grey(data, frame=4).ravel()) == {50}
    with pytest.raises(UnreadableDicom, match="5 frames"):
        render(data, max_pixels=LIMIT, frame=5)


def test_colour_stays_colour() -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(render(draw(values), max_pixels=LIMIT)), values)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("SC_rgb_rle_16bit.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle.dcm"),
        ("examples_ybr_color.dcm", "examples_ybr_color.dcm"),
        ("examples_palette.dcm", "examples_palette.dcm"),
        ("JPGExtended.dcm", "JPGExtended.dcm"),
        ("CT_small.dcm", "CT_small.dcm"),
    ],
)
def test_pydicoms_own_files_are_read(name: str, like: str) -> None:
    one, other = (np.asarray(decode((FILES / file).read_bytes()), dtype=int) for file in (name, like))
    assert one.std() > 10
    assert np.abs(one - other).mean() < 6  # lossy ones differ a little


@pytest.mark.parametrize(
    "name", ["rtplan.dcm", "test-SR.dcm", "MR_truncated.dcm", "badVR.dcm", "JPEG-lossy.dcm"]
)
def test_what_gives_no_picture_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UnreadableImage, match="DICOM"):
        decode((FILES / name).read_bytes())


def test_a_huge_frame_is_refused_before_it_is_decoded() -> None:
    data = draw(np.zeros((4, 4), dtype=np.uint8), Rows=60_000, Columns=60_000)
    with pytest.raises(UnreadableImage, match="60000 x 60000"):
        decode(data)


def test_the_header_gives_only_what_the_list_allows() -> None:
    person = {
        "PatientName": "Doe^Jane",
        "PatientID": "MRN-4711",
        "PatientBirthDate": "19310203",
        "PatientAddress": "1 High Street",
        "OtherPatientIDs": "X-99",
        "AccessionNumber": "ACC-5",
        "ReferringPhysicianName": "House^Greg",
        "OperatorsName": "Op^Erator",
        "InstitutionName": "General Hospital",
        "StationName": "ROOM-7",
        "DeviceSerialNumber": "SN-123",
        "StudyDate": "20200131",
        "StudyDescription": "Jane's thorax",
        "ImageComments": "see Jane",
        "StudyInstanceUID": "1.2.840.9999",
    }
    known = {
        "PatientSex": "F",
        "PatientAge": "093Y",
        "ViewPosition": "PA",
        "KVP": "120",
        "Manufacturer": "ACME",
    }
    data = draw(RAMP, **person, **known, Modality="DX")
    found = describe(io.BytesIO(data), key=KEY)
    text = repr(found)
    for secret in (
        "Doe",
        "Jane",
        "4711",
        "1931",
        "High",
        "X-99",
        "ACC-5",
        "House",
        "Op^",
        "General",
        "ROOM",
        "SN-123",
        "2020",
        "9999",
    ):
        assert secret not in text, secret
    assert {name: found[name] for name in known} == known | {"PatientAge": 90.0, "KVP": 120}
    assert found["Modality"] == "DX"
    again = describe(io.BytesIO(draw(RAMP, **person)), key=KEY)
    other = describe(io.BytesIO(draw(RAMP, **person)), key=b"another")
    assert again["PatientID"] == found["PatientID"] != other["PatientID"]
    assert describe(io.BytesIO(draw(RAMP, PatientAge="018M")), key=KEY)["PatientAge"] == 1.5


@pytest.mark.parametrize(
    ("born", "taken", "age"),
    [
        ("19750201", "20200131", 44),  # the day before
        ("1975.02.01", "20200201", 45),
        ("19290101", "20200201", 90),  # higher ages identify
        ("20190315", "20200314", 0.92),
        ("19000101", "20200201", None),  # what many programs write where they take a date out
        ("20200201", "20200131", None),
        ("19750231", "20200131", None),
        ("", "20200131", None),
        ("19750201", "", None),
    ],
)
def test_without_an_age_the_date_of_birth_tells_it(born: str, taken: str, age: float | None) -> None:
    found = describe(io.BytesIO(draw(RAMP, PatientBirthDate=born, StudyDate=taken)), key=KEY)
    assert found.get("PatientAge") == age
    stated = draw(RAMP, PatientBirthDate=born, StudyDate=taken, PatientAge="007Y")
    assert describe(io.BytesIO(stated), key=KEY)["PatientAge"] == 7


def test_annotators_get_a_picture_and_nothing_else() -> None:
    data = draw(RAMP, PatientName="Doe^Jane", PatientID="MRN-4711", WindowCenter=1024, WindowWidth=512)
    shown, ending = for_browser(data, max_pixels=LIMIT)
    assert ending == ".png"
    assert b"Jane" not in shown
    assert b"4711" not in shown
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")), np.asarray(decode(data))
    )


def test_what_browsers_show_is_given_as_it_is() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    for kind, mode, ending in (
        ("JPEG", "RGB", ".jpg"),
        ("PNG", "RGB", ".png"),
        ("WEBP", "RGB", ".webp"),
        ("TIFF", "RGB", None),
        ("JPEG", "CMYK", None),
        ("PNG", "I;16", None),
    ):
        out = io.BytesIO()
        (Image.fromarray(RAMP) if mode == "I;16" else picture.convert(mode)).save(out, kind)
        shown, found = for_browser(out.getvalue(), max_pixels=LIMIT)
        assert found == (ending or ".png")
        assert (shown == out.getvalue()) == (ending is not None)
        assert Image.open(io.BytesIO(shown)).mode != "CMYK"


def test_what_is_burned_in_is_told() -> None:
    assert burned_in(draw(RAMP, BurnedInAnnotation="YES"))
    assert not burned_in(draw(RAMP, BurnedInAnnotation="NO"))
    assert not burned_in(draw(RAMP))
    assert not is_dicom(b"DICM")


# Neighbours of the common kinds


REFUSED = {
    "JPEG-lossy.dcm": "misplaced marker",
    "JPEG2000-embedded-sequence-delimiter.dcm": "Error decoding the J2K data",
    "MR_truncated.dcm": "ends too early: bring it here again",
    "badVR.dcm": "invalid literal for int",
}
"""pydicom's own files that have a picture which is not read, and why."""


def test_every_file_of_pydicom_is_read_or_refused_with_a_reason() -> None:
    read, why = set(), {}
    for path in sorted(FILES.rglob("*")):
        if path.is_file() and path.suffix == ".dcm":
            try:
                read.add(path.name) if decode(path.read_bytes()).size else None
            except UnreadableImage as error:
                why[path.name] = str(error)
    assert len(read) >= 45
    without = {name for name, reason in why.items() if "without a picture" in reason}
    assert {name for name in why if name not in without} == {*REFUSED, "no_meta.dcm"}
    assert all(REFUSED[name] in why[name] for name in REFUSED)
    assert "image_dfl.dcm" in read  # deflated as a whole


def test_a_file_without_preamble_and_header_is_read() -> None:
    """As scanners of the last century wrote them, and as some archives cut them out."""
    whole = draw(RAMP, WindowCenter=1024, WindowWidth=512)
    dataset = pydicom.dcmread(io.BytesIO(whole))
    for implicit in (False, True):
        written = io.BytesIO()
        pydicom.dcmwrite(written, dataset, implicit_vr=implicit, little_endian=True, force_encoding=True)
        bare = written.getvalue()[written.getvalue().index(b"\x08\0\x16\0") :]
        assert is_dicom(bare)
        np.testing.assert_array_equal(grey(bare), grey(whole))
    starts = (
        b"",
        b"\x08\0",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"II*\0\x08\0\0\0",
        b"GIF89a",
    )
    assert not any(is_dicom(start + bytes(9)) for start in starts)


def test_the_window_of_one_frame_of_many_is_applied() -> None:
    """Enhanced CT and MR files say for each frame what others say once."""
    frames = np.stack([RAMP, RAMP])

    def group(**fields: float) -> Dataset:
        found = Dataset()
        window, rescaled = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = fields["center"], fields["width"]
        rescaled.RescaleSlope, rescaled.RescaleIntercept = 1, fields["intercept"]
        found.FrameVOILUTSequence, found.PixelValueTransformationSequence = [window], [rescaled]
        return found

    per_frame = [group(center=1024, width=512, intercept=0), group(center=40, width=400, intercept=-1024)]
    data = draw(frames, PerFrameFunctionalGroupsSequence=per_frame)
    one = draw(RAMP, WindowCenter=1024, WindowWidth=512)
    other = draw(RAMP, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    np.testing.assert_array_equal(grey(data, frame=0), grey(one))
    np.testing.assert_array_equal(grey(data, frame=1), grey(other))


def test_padding_does_not_darken_what_is_inside() -> None:
    values = RAMP.astype(np.int16)
    padded = np.concatenate([values, np.full_like(values, -2000)])
    shown = grey(draw(padded, PixelPaddingValue=-2000))
    np.testing.assert_allclose(shown[:8], grey(draw(values)), atol=1)
    assert set(shown[8:].ravel()) == {0}


def test_a_large_picture_is_computed_in_parts_as_in_one(monkeypatch) -> None:
    data = draw(RAMP, RescaleSlope=2, RescaleIntercept=-5, WindowCenter=2048, WindowWidth=1000)
    whole = grey(data)
    monkeypatch.setattr("cdsel_backend.pool.depth.PART", 200)
    np.testing.assert_array_equal(grey(data), whole)


def test_a_deflated_file_that_would_fill_the_memory_is_refused(monkeypatch) -> None:
    deflated = (FILES / "image_dfl.dcm").read_bytes()
    assert decode(deflated).size == (512, 512)
    monkeypatch.setattr("cdsel_backend.pool.dicom._MOST_INFLATED", 100_000)
    with pytest.raises(UnreadableImage, match="deflated DICOM file holds more than"):
        decode(deflated)


# Tables of headers, and headers that lack something


def header_table(descriptor: list[int], data: list[int] | bytes, kind: str = "US") -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [number & 0xFFFF for number in descriptor])
    item.add_new("LUTData", kind, data)
    return [item]


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
def test_tables_are_read_in_each_form(name: str) -> None:
    turned = np.repeat(np.arange(256, dtype=np.uint8)[::-1], 16)  # 4,096 entries of 8 bits
    wanted = np.tile(turned[RAMP[0]].astype(int), (8, 1))
    if name == "ModalityLUTSequence":  # what it gives is then stretched
        wanted = np.round((wanted - wanted.min()) / np.ptp(wanted) * 255).astype(int)
    for descriptor, data, kind in (
        ([4096, 0, 8], turned.astype(int).tolist(), "US"),
        ([4096, 0, 8], np.frombuffer(turned.tobytes(), "<u2").astype(int).tolist(), "US"),  # two in a word
        ([4096, 0, 8], turned.tobytes(), "OW"),
        ([4095, 0, 8], turned.tobytes(), "OW"),
        ([4096, 0, 0], turned.astype(int).tolist(), "US"),  # of no bits: those of its entries
        ([0, 0, 8], np.pad(turned, (0, 2**16 - 4096)).tobytes(), "OW"),  # 0 entries are 65,536
    ):
        shown = grey(draw(RAMP, **{name: header_table(descriptor, data, kind)}))
        assert np.abs(shown - wanted).max() <= 4, (descriptor, kind)


def test_the_first_value_of_a_table_may_be_below_zero() -> None:
    rising = (np.arange(4096) * 16).tolist()
    plain = grey(draw(RAMP, VOILUTSequence=header_table([4096, 0, 16], rising)))
    assert plain[0, 0] == 0
    assert plain[0, -1] > 250
    for values, first, fields in (
        (RAMP, -1024, {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 1, "RescaleIntercept": -1024}),
        (RAMP.astype(np.int16) - 2048, -2048, {}),
        (RAMP + 40_000, 40_000, {}),
    ):
        shown = grey(draw(values, **fields, VOILUTSequence=header_table([4096, first, 16], rising)))
        assert np.array_equal(shown, plain), first


def test_a_table_that_is_too_short_is_named_and_one_without_entries_passed_over() -> None:
    with pytest.raises(UnreadableDicom, match=r"VOILUTSequence has 100 entries, where .* says 4096: export"):
        render(draw(RAMP, VOILUTSequence=header_table([4096, 0, 16], [0] * 100)), max_pixels=LIMIT)
    bare = header_table([4096, 0, 16], [0] * 4096)
    del bare[0].LUTData
    window = {"WindowCenter": 1024, "WindowWidth": 512}
    assert np.array_equal(
        grey(draw(RAMP, VOILUTSequence=bare, **window)), grey(draw(RAMP, RescaleSlope=None, **window))
    )


def without(data: bytes, *names: str, **fields: object) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    for name in names:
        delattr(dataset, name)
    for name, value in fields.items():
        setattr(dataset, name, value)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def test_what_viewers_do_without_is_done_without() -> None:
    colour = np.stack([RAMP // 16, RAMP // 32, RAMP * 0], axis=-1).astype(np.uint8)
    assert np.array_equal(
        np.asarray(decode(without(draw(colour), "PlanarConfiguration"))), np.asarray(decode(draw(colour)))
    )
    for kind in ("monochrome2", ""):
        shown = grey(without(draw(RAMP), PhotometricInterpretation=kind))
        assert np.array_equal(shown, grey(draw(RAMP))), kind
    for name in ("SamplesPerPixel", "BitsStored", "PixelRepresentation"):
        assert np.array_equal(grey(without(draw(RAMP), name)), grey(draw(RAMP))), name
    numbers = (RAMP / 4096).astype(np.float32)
    floating = without(
        draw(RAMP), "PixelData", "BitsStored", "HighBit", "PixelRepresentation", BitsAllocated=32
    )
    windowed = without(floating, FloatPixelData=numbers.tobytes(), WindowCenter=2, WindowWidth=4)
    assert np.all(np.diff(grey(windowed)[0]) >= 0)


def written_over(data: bytes, field: bytes, value: bytes) -> bytes:
    """A file in which the bytes of a field, its VR and length among them, are others."""
    assert (data.count(field), len(field)) == (1, len(value))
    return data.replace(field, value)


def test_a_field_that_cannot_be_read_costs_only_itself() -> None:
    """Numbers that are none, as of anonymisation or of a German programme, and a VR that there is not."""
    values = (RAMP // 16).astype(np.uint8)
    fields = {"WindowCenter": "100", "WindowWidth": "200", "RescaleSlope": "1.5"}
    whole = draw(values, **fields, PatientWeight="77", KVP="90", Manufacturer="ACME", StationName="R1")
    cases = {
        b"ZZ\x02\x0077": {},  # a weight of an unknown VR
        b"DS\x04\x00a00 ": {"WindowCenter": None},
        b"DS\x04\x00nan ": {"WindowCenter": None},
        b"DS\x04\x001,5 ": {"RescaleSlope": "1.5"},
        b"DS\x04\x000.0 ": {"RescaleSlope": None},
        b"DS\x04\x00inf ": {"RescaleSlope": None},
    }
    for value, change in cases.items():
        field = b"DS\x04\x00100 " if "WindowCenter" in change else b"DS\x04\x001.5 "
        broken = written_over(whole, field if change else b"DS\x02\x0077", value)
        expected = grey(draw(values, **(fields | change)))
        assert np.array_equal(grey(broken), expected), value

    known = describe(io.BytesIO(whole), key=KEY)
    for field, value, name, read in (
        (b"LO\x04\x00ACME", b"LO\x04\x00nan ", "Manufacturer", "nan"),  # text, which counts as missing
        (b"LO\x04\x00ACME", b"LO\x04\x00A\0ME", "Manufacturer", "AME"),
        (b"DS\x02\x0090", b"ZZ\x02\x0090", "KVP", None),
        (b"SH\x02\x00R1", b"ZZ\x02\x00R1", "StationName", None),
    ):
        found = describe(io.BytesIO(written_over(whole, field, value)), key=KEY)
        assert found.pop(name, None) == read
        assert found == {other: text for other, text in known.items() if other != name}


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("1.2.840.10008.5.1.4.1.1.104.1", r"\(Encapsulated PDF Storage\)$"),
        ("1.2.840.10008.5.1.4.1.1.88.11", r"\(Basic Text SR Storage\)$"),
        (SecondaryCaptureImageStorage, "its pixels were taken out, or it is cut short; bring it here again"),
    ],
)
def test_a_file_without_a_picture_says_what_it_is(storage: str, words: str) -> None:
    with pytest.raises(UnreadableDicom, match=words):
        render(without(draw(RAMP), "PixelData", SOPClassUID=storage), max_pixels=LIMIT)
    with pytest.raises(UnreadableDicom, match="cut short"):
        render(draw(RAMP)[:200], max_pixels=LIMIT)


@pytest.mark.parametrize("signed", [False, True])
def test_values_in_the_upper_bits_of_their_words_are_read(signed: bool) -> None:
    """As HighBit says, in old files; where it says so wrongly they are read as they lie."""
    values = RAMP.astype(np.int16) - 2048 if signed else RAMP
    window = {"WindowCenter": 0 if signed else 2048, "WindowWidth": 4096}
    lower = values if not signed else (values & 0xFFF).astype(np.int16)
    usual = grey(draw(lower, BitsStored=12, HighBit=11, **window))
    assert np.array_equal(grey(draw(values << 4, BitsStored=12, HighBit=15, **window)), usual)
    odd = (lower | 1).astype(lower.dtype)
    said, right = (grey(draw(odd, BitsStored=12, HighBit=high, **window)) for high in (15, 11))
    assert np.array_equal(said, right)


def test_palettes_are_read_in_each_form() -> None:
    """Of 16 bits, of 8, of 8 that says it has 16, and of an odd number of entries, whose data are one byte longer."""
    values = (RAMP // 16).astype(np.uint8)
    plain = pydicom.dcmread(io.BytesIO(draw(values, PhotometricInterpretation="PALETTE COLOR")))
    for entries, stated, data in (
        (256, 16, (np.arange(256) * 257).astype("<u2").tobytes()),
        (256, 8, np.arange(256, dtype=np.uint8).tobytes()),
        (256, 16, np.arange(256).astype("<u2").tobytes()),
        (255, 8, np.arange(256, dtype=np.uint8).tobytes()),
    ):
        for colour in ("Red", "Green", "Blue"):
            plain.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [entries, 0, stated])
            plain.add_new(f"{colour}PaletteColorLookupTableData", "OW", data)
        out = io.BytesIO()
        plain.save_as(out)
        assert np.abs(grey(out.getvalue()) - values).max() <= 1, (entries, stated)
