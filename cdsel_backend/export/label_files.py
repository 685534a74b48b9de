"""The labelled set as files: for Label Studio, for spreadsheets, and as COCO."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdsel_backend.export.labelled_set import LabelledImage
from cdsel_backend.labelstudio.marks import OURS, without_ours
from cdsel_backend.labelstudio.space import LabelSpace
from cdsel_backend.pool.columns import FILE_PREFIX
from cdsel_backend.store.records import Json
from cdsel_backend.table import Cells, csv_text

_ELLIPSE_POINTS = 64

Point = tuple[float, float]


def label_studio_json(images: Sequence[LabelledImage], space: LabelSpace) -> str:
    """Return tasks with their annotations, as Label Studio imports them.

    What we know of an image stands in its data under names that begin with `cdsel_`, which no confounder is made of,
    and none of which marks a task as one of our queue. An image from outside Label Studio is the picture that was
    uploaded for its annotators.
    """
    tasks = [
        {
            "data": without_ours(image.item.data)
            | _picture_of(image, space)
            | {f"{OURS}{name}": value for name, value in image.facts().items()},
            "annotations": [
                {"result": space.result_for(image.label) if image.result is None else list(image.result)}
            ],
        }
        for image in images
    ]
    return json.dumps(tasks, ensure_ascii=False, indent=1)


def _picture_of(image: LabelledImage, space: LabelSpace) -> dict[str, Any]:
    """The field with the picture of an image from outside Label Studio, which its own data do not have."""
    if image.item.source is None or space.image.plain is None:
        return {}
    return {space.image.plain: image.shown or image.item.image}


def labels_csv(images: Sequence[LabelledImage], classes: Sequence[str], *, several: bool) -> str:
    """Return a row for each image: its address, its label, what we know of it, and its data.

    `several`: a column for each class, with 1 where the image shows it.
    """
    rows: list[Cells] = [
        {
            "image": image.item.image or image.item.key,
            "task": image.item.task,
            "label": ", ".join(image.names),
            **({f"shows.{name}": int(name in image.names) for name in classes} if several else {}),
            **image.facts(),
            **{f"data.{name}": value for name, value in without_ours(image.item.data).items()},
        }
        for image in images
    ]
    return csv_text(rows)


def coco(images: Sequence[LabelledImage], space: LabelSpace) -> tuple[str, int]:
    """Return regions as a COCO document, and how many regions COCO cannot hold (brushes and key points).

    Boxes, polygons and ellipses, in pixels, turned ones as the polygon of their outline; `bbox` is what lies around it.
    Classes that are not learned, or not in the labeling config any more, are the last categories.
    Images without regions are among `images`: they are the negatives.
    """
    left_out = 0
    categories = {name: code for code, name in enumerate(space.classes)}
    listed: list[Json] = []
    annotations: list[Json] = []
    for number, image in enumerate(images, start=1):
        parts = [part for part in image.result or () if part.get("from_name") == space.control]
        width, height = _size(image, parts)
        listed.append(
            {
                "id": number,
                "file_name": image.item.image or image.item.key,
                "width": width,
                "height": height,
                "cdsel": image.facts(),
            }
        )
        for part in parts:
            value = part.get("value") or {}
            names = [space.names.get(str(name), str(name)) for name in value.get(space.value_key) or ()]
            outline = _outline(value, width, height)
            if outline is None:
                left_out += 1
                continue
            for name in names:
                annotations.append(
                    _region(
                        len(annotations) + 1,
                        number,
                        categories.setdefault(name, len(categories)),
                        outline,
                    )
                )
    document = {
        "info": {"description": "exported by cdsel-backend"},
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": code + 1, "name": name} for name, code in categories.items()],
    }
    return json.dumps(document, ensure_ascii=False, indent=1), left_out


def _region(number: int, image: int, code: int, outline: Sequence[Point]) -> Json:
    across, down = zip(*outline, strict=True)
    left, top = min(across), min(down)
    return {
        "id": number,
        "image_id": image,
        "category_id": code + 1,
        "bbox": [round(value, 2) for value in (left, top, max(across) - left, max(down) - top)],
        "segmentation": [[round(value, 2) for point in outline for value in point]],
        "area": round(_area(outline), 2),
        "iscrowd": 0,
    }


def _outline(value: Mapping[str, Any], width: int, height: int) -> list[Point] | None:
    """The corners in pixels of a region, whose numbers are percent of the image; None for one that has none."""
    if "points" in value:
        points = [(x / 100 * width, y / 100 * height) for x, y in value["points"]]
        return points if len(points) > 2 else None
    turn = math.radians(float(value.get("rotation") or 0))
    if {"x", "y", "radiusX", "radiusY"} <= value.keys():
        x, y = value["x"] / 100 * width, value["y"] / 100 * height
        across, down = value["radiusX"] / 100 * width, value["radiusY"] / 100 * height
        angles = [2 * math.pi * k / _ELLIPSE_POINTS for k in range(_ELLIPSE_POINTS)]
        return list(_turned([(across * math.cos(a), down * math.sin(a)) for a in angles], turn, x, y))
    if {"x", "y", "width", "height"} <= value.keys() and "rle" not in value:
        if not value["height"]:
            return None
        x, y = value["x"] / 100 * width, value["y"] / 100 * height
        across, down = value["width"] / 100 * width, value["height"] / 100 * height
        return list(_turned([(0, 0), (across, 0), (across, down), (0, down)], turn, x, y))
    return None


def _turned(points: Sequence[Point], turn: float, x: float, y: float) -> Iterator[Point]:
    """Points turned clockwise about the origin, which is then moved to (x, y), as Label Studio turns regions."""
    cos, sin = math.cos(turn), math.sin(turn)
    for across, down in points:
        yield x + across * cos - down * sin, y + across * sin + down * cos


def _area(outline: Sequence[Point]) -> float:
    following = [*outline[1:], outline[0]]
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(outline, following, strict=True))) / 2


def _size(image: LabelledImage, parts: Sequence[Json]) -> tuple[int, int]:
    """Width and height in pixels: as its regions say, else as its file does; 0 where neither is known."""
    for part in parts:
        if part.get("original_width") and part.get("original_height"):
            return int(part["original_width"]), int(part["original_height"])
    measured = str((image.item.measures or {}).get(f"{FILE_PREFIX}width x height") or "")
    sides = [side for side in measured.split(" x ") if side.isdigit()]
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else (0, 0)
