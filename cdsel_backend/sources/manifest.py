"""A table of files as a pool: CSV, JSON lines or Parquet, one row an item; its other columns are variables.

CSV and JSON lines may be compressed by gzip.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from cdsel_backend.phrases import as_typed, number_of
from cdsel_backend.pool.source import Listing, SourceError, SourceItem
from cdsel_backend.sources.endings import IMAGES
from cdsel_backend.sources.files import Files
from cdsel_backend.sources.folder import may_be_dicom
from cdsel_backend.sources.storage import Trouble, is_remote, said_of, trouble_of, words_of
from cdsel_backend.table import UsageError, csv_cells, decoded, is_header, plain_path, plain_text, text_lines

NAMES = (
    "image",
    "image_path",
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "url",
    "uri",
    "img",
    *("image_filename", "image_name", "image name", "image_id", "image id", "imageid", "image index"),
)
WEB = ("http://", "https://")
BATCH = 512  # rows of a Parquet file in memory at once
DEEPEST = 64  # values within values, as in the bodies of requests
LONGEST = 131_072  # characters of a value, as of a cell of a CSV file
LONGEST_PATH = 4096  # characters of a path; addresses may be longer
LOOKED_AT = 1000
"""Rows by which the column of the images is chosen: not each record of JSON lines has every key."""

IN_ONE_FILE = "write it as one file (in Python pandas.read_parquet(folder).to_parquet(file)), and name that"
"""What to do with a table that lies in a folder, in parts."""

_LEFT_OUT = object()

Row = tuple[int, Mapping[str, Any] | str]
"""The number of a row, from 1, and its columns; or why it could not be read."""


class ManifestSource:
    """The rows of a table, each of which names an image below a folder, or an http(s) address."""

    def __init__(self, address: str, files: Files, *, image: str | None) -> None:
        """Take the table's address, the folder of its images, and the column that names them (None: found by name)."""
        self.address = address
        self._files = files
        self._image = image
        folder, self._name = folder_and_name(address)
        self._table = Files(folder, key=b"", max_bytes=0, options=files._options)

    def list(self, watermark: str = "") -> Listing | None:
        """See `PoolSource.list`: the whole table, unless it is the file it was."""
        stamp = self._table.stamp(self._name)
        if stamp and stamp == watermark:
            return None
        return Listing(self._items(stamp), complete=True, watermark=stamp)

    def describe(self, item: SourceItem) -> Mapping[str, Any]:
        """See `PoolSource.describe`."""
        if item.image.startswith(WEB) or not may_be_dicom(item.image):
            return {}
        return self._files.describe(item.image)

    def read(self, item: SourceItem) -> bytes:
        """See `PoolSource.read`; http(s) addresses are the caller's to read."""
        return self._files.image(item.image)

    def annotator_address(self, item: SourceItem) -> str | None:
        """See `PoolSource.annotator_address`: what is on the web can be seen there."""
        return item.image if item.image.startswith(WEB) else None

    def _items(self, stamp: str) -> Iterator[SourceItem]:
        reader = reader_of(self._name)
        assert reader is not None  # `open_source` takes no other name
        try:
            with self._table.open(self._name) as file:
                yield from self._from_rows(reader(file))
            if stamp != self._table.stamp(self._name):  # what it lacked for a moment would count as gone
                raise SourceError(
                    "it was written while it was read; see that it is whole, and it is read again"
                )
        except (SourceError, UsageError) as error:
            raise SourceError(f"{self.address}: {error}") from error
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.address} is no text in UTF-8 ({error}): save it as UTF-8") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise SourceError(
                f"{self.address} cannot be unpacked ({error}): its gzip compression is cut short or damaged; write "
                "the file again"
            ) from error
        except Exception as error:
            if self._is_folder():
                raise SourceError(
                    f"{self.address} is a folder, as Spark and Dask write tables: {IN_ONE_FILE}"
                ) from error
            if is_remote(self.address):
                raise SourceError(f"{self.address} {said_of(self.address, error)}") from error
            if trouble_of(error) is Trouble.MISSING:
                raise SourceError(
                    f"{self.address}: there is no such file; see its name, and that it is mounted"
                ) from error
            raise SourceError(f"{self.address} cannot be read: {words_of(error)}") from error

    def _is_folder(self) -> bool:
        with suppress(SourceError):  # its storage is away, or there is nothing
            return Files(self.address, key=b"", max_bytes=0, options=self._files._options).is_folder()
        return False

    def _from_rows(self, rows: Iterator[Row]) -> Iterator[SourceItem]:
        ahead = list(islice(rows, LOOKED_AT))
        read = [row for _, row in ahead if not isinstance(row, str)]
        if ahead and not read:
            raise _unread(ahead)
        column = _image_column(read, self._image) if read else ""
        for number, row in chain(ahead, rows):
            if isinstance(row, str):
                yield SourceItem(f"row {number}", "", {}, problem=f"row {number}: {row}")
                continue
            image = row.get(column)
            data = {name: value for name, value in row.items() if name != column and value is not None}
            if not isinstance(image, str) or not image.strip():
                problem = f"row {number} has no text in its column {column!r}"
                yield SourceItem(f"row {number}", "", data, problem=problem)
                continue
            # As the key it would stand in every message on the item.
            if len(image) > LONGEST_PATH and "://" not in image[:LONGEST_PATH]:
                problem = (
                    f"row {number} has {len(image):,} characters in its column {column!r}, which is no path: write the "
                    "image itself (base64) as a file, and its path there"
                )
                yield SourceItem(f"row {number}", "", data, problem=problem)
                continue
            yield SourceItem(image.strip(), plain_path(image.strip()), data)


def _unread(rows: Sequence[Row]) -> SourceError:
    """What to raise for a table of whose first rows none can be read."""
    number, reason = rows[0]
    return SourceError(
        f"none of its {number_of(len(rows), 'row')} can be read; row {number}: {reason}. Of JSON one object a line is "
        "read (jq -c '.[]' FILE writes a list so); a CSV file has a header and as many cells in each row"
    )


def _image_column(rows: Sequence[Mapping[str, Any]], named: str | None) -> str:
    """The column with the images' paths, by the first rows of a table.

    Raises:
        SourceError: there is none of that name, or of a known one; or it holds something else than text.
    """
    filled: dict[str, bool] = {}  # column -> whether one of the rows has text there
    for row in rows:
        for name, value in row.items():
            filled[name] = filled.get(name, False) or (isinstance(value, str) and bool(value.strip()))
    if named is not None:
        if named not in filled:
            raise SourceError(f"there is no column {named!r}; the columns are {', '.join(filled)} (--image)")
        found = [named]
    else:
        by_name = {name.strip().lower(): name for name in reversed(filled)}
        found = [by_name[name] for name in NAMES if name in by_name]
        if not found:
            raise SourceError(
                f"which column names the image? The columns are {', '.join(filled)}; name it by --image COLUMN"
                + (_nested(rows) or _without_header(filled))
            )
    column = next((name for name in found if filled[name]), found[0])
    values = [value for row in rows if (value := row.get(column)) is not None]
    if values and all(isinstance(value, (Mapping, list)) for value in values):
        raise SourceError(
            f"the column {column!r} holds nested values, such as {str(values[0])[:80]}, where the path of an image is "
            "needed: write the path as text, in a column of its own, and the images as files"
        )
    return column


def _without_header(columns: Iterable[str]) -> str:
    """What to do where the first row of a CSV file is no header but an image."""
    values = any(PurePosixPath(name.strip()).suffix.lower() in IMAGES for name in columns)
    return ", or put a line above the first that names the columns" if values else ""


def _nested(rows: Sequence[Mapping[str, Any]]) -> str:
    """What to do where a record holds the column in another object, as a task of Label Studio does."""
    for row in rows:
        for name, value in row.items():
            if isinstance(value, Mapping) and {str(inner).lower() for inner in value} & {*NAMES}:
                return f", or write the object in {name!r} flat, one a line (jq -c '.{name}')"
    return ""


def _csv_rows(file: BinaryIO) -> Iterator[Row]:
    names, rows = csv_cells(file)
    if not any(names):
        raise SourceError("the table is empty: a header and a row for each image are needed")
    for number, cells in enumerate(rows, start=1):
        if isinstance(cells, str):
            yield number, cells
        elif not any(cells) or is_header(cells, names):  # the header again
            continue
        elif len(cells) != len(names):
            yield number, f"{number_of(len(cells), 'value')} for {number_of(len(names), 'column')}"
        else:
            yield number, {name: cell or None for name, cell in zip(names, cells, strict=True) if name}


def _json_rows(file: BinaryIO) -> Iterator[Row]:
    for number, line in enumerate(text_lines(decoded(file)), start=1):
        text = line.strip().removesuffix(",")
        if text in ("", "[", "]"):  # of a list with an object a line
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield number, f"no JSON ({error})"
            continue
        records = row if isinstance(row, list) else [row]  # a list may stand on a line of its own
        for index, record in enumerate(records, start=number):
            yield index, _row(record) if isinstance(record, dict) else "no JSON object"


def _parquet_rows(file: BinaryIO) -> Iterator[Row]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise SourceError("Parquet files need pyarrow: install cdsel-backend[parquet]") from None
    if file.read(4) != b"PAR1":
        raise SourceError(
            "it cannot be read: it is no Parquet file, whatever its name says; write it anew, or as CSV"
        )
    file.seek(0)
    number = 0
    table = cast(Any, parquet).ParquetFile(file)
    schema = table.schema_arrow
    double = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if double:
        raise SourceError(
            f"it names {', '.join(map(repr, double))} more than once: rename one of the columns"
        )
    kinds = {field.name: str(field.type) for field in schema if field.name.strip().lower() in NAMES}
    if kinds and all("binary" in kind for kind in kinds.values()):  # also of datasets: struct<bytes, path>
        raise SourceError(
            f"the column {next(iter(kinds))!r} holds the images themselves: write them as files, and their paths into "
            "that column"
        )
    # Pictures beside their paths are not even read: they would fill the memory.
    columns = [field.name for field in schema if not re.match("(large_|fixed_size_)?binary", str(field.type))]
    for batch in table.iter_batches(batch_size=BATCH, columns=columns):
        for row in _records(batch):
            number += 1
            yield number, row if isinstance(row, str) else _row(row)


def _records(batch: Any) -> Iterator[Mapping[str, Any] | str]:
    """The rows of a part of a Parquet file, or why one cannot be read: a text that is none, a date after 9999."""
    try:
        yield from batch.to_pylist()
        return
    except (ValueError, OverflowError):
        pass  # of one value; which one, each says
    for index in range(batch.num_rows):
        row: dict[str, Any] = {}
        try:
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                row[name] = column[index].as_py()
            yield row
        except (ValueError, OverflowError) as error:
            yield f"the value of its column {name!r} cannot be read ({error})"


def _row(record: Mapping[str, Any]) -> Mapping[str, Any] | str:
    """A row whose values any database can keep as JSON, without those that it cannot, such as bytes.

    Why it is none where a value is nested too deeply, or is longer than metadata are.
    """
    for name, value in record.items():
        if isinstance(value, str) and len(value) > LONGEST:
            return (
                f"the value of column {name!r} has more than {LONGEST:,} characters, which is no metadata: shorten "
                "it, or leave the column out of the table"
            )
    try:
        return _plain(record, DEEPEST)
    except RecursionError:
        return f"its values are nested more than {DEEPEST} deep: write them flat"


def _plain(row: Mapping[str, Any], deepest: int) -> dict[str, Any]:
    plain = {as_typed(plain_text(str(name))): _value(value, deepest - 1) for name, value in row.items()}
    return {name: value for name, value in plain.items() if value is not _LEFT_OUT}


def _value(value: Any, deepest: int) -> Any:
    if deepest < 0:
        raise RecursionError
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, Mapping):
        return _plain(value, deepest)
    if isinstance(value, (list, tuple)):
        return [plain for inner in value if (plain := _value(inner, deepest - 1)) is not _LEFT_OUT]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if type(value).__name__ == "Decimal":
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (int, float)) else _LEFT_OUT


READERS: Mapping[str, Callable[[BinaryIO], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": _parquet_rows,
}
COMPRESSED = ".gz"  # after the name of a table of text; Parquet has a compression of its own


def folder_and_name(address: str) -> tuple[str, str]:
    """The folder, or prefix, in which a table lies, and its name there."""
    folder, slash, name = address.replace("\\", "/").rpartition("/")
    return folder or slash or ".", name


def reader_of(name: str) -> Callable[[BinaryIO], Iterator[Row]] | None:
    """What reads the table of this name; None where it is the name of none."""
    name = name.lower()
    plain = name.removesuffix(COMPRESSED)
    reader = READERS.get("." + plain.rpartition(".")[2])
    return None if plain != name and reader is _parquet_rows else reader
