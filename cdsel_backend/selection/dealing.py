"""Who gets which image of a round: in rank order, in proportion to what each may still label, strata kept alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

ANY = "any"  # what every image is, beside its levels


def deal(
    images: Sequence[Mapping[str, str]],
    room: Mapping[str, int],
    before: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
) -> list[str | None]:
    """Deal images to annotators, each to one.

    How many each gets is in proportion to their room. Which ones: an annotator who sees mostly one site would be a
    confounder of her own making, so that everybody's images shall have the levels of every confounder in the same
    shares. In rank order, an image goes to whom most is lacking: of images in all (so that everybody gets early ranks
    and late ones), and of its level of each confounder, counting what the deals before left over. This is
    minimisation (Pocock and Simon 1975, Biometrics 31:103) for unequal parts, and deterministic.

    Args:
        images: the levels of each image, variable -> level, in rank order.
        room: annotator -> how many more images she may get; ties go to the earlier.
        before: annotator -> levels of the images that she got already.

    Returns:
        The annotator of each image; None once nobody has room.
    """
    before = before or {}
    parts = shares(room, len(images))
    carried = _carried({name: before.get(name, ()) for name in parts})
    part = {name: places / max(1, sum(parts.values())) for name, places in parts.items()}
    seen: Counter[object] = Counter()
    got: dict[str, Counter[object]] = {name: Counter() for name in parts}
    dealt: list[str | None] = []
    for image in images:
        kinds = (ANY, *image.items())
        seen.update(kinds)
        lack = {
            name: round(
                sum(carried[name][kind] + part[name] * seen[kind] - got[name][kind] for kind in kinds), 9
            )
            for name in parts
            if got[name][ANY] < parts[name]
        }
        chosen = max(lack, key=lambda name: lack[name], default=None)  # the first among equals
        dealt.append(chosen)
        if chosen is not None:
            got[chosen].update(kinds)
    return dealt


def _carried(before: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, dict[object, float]]:
    """How many images of each level an annotator had too few of so far, for as many images as she had."""
    have = {
        name: Counter(level for image in images for level in image.items()) for name, images in before.items()
    }
    everyone = sum(have.values(), Counter())
    total = max(1, sum(len(images) for images in before.values()))
    return {
        name: defaultdict(
            float,
            {
                level: len(before[name]) * number / total - have[name][level]
                for level, number in everyone.items()
            },
        )
        for name in before
    }


def shares(room: Mapping[str, int], size: int) -> dict[str, int]:
    """Split `size` in proportion to room, by largest remainder; nobody gets more than her room."""
    names = [name for name, places in room.items() if places > 0]
    total = sum(room[name] for name in names)
    size = min(size, total)
    exact = {name: size * room[name] / total for name in names}
    parts = {name: int(exact[name]) for name in names}
    for name in sorted(names, key=lambda name: parts[name] - exact[name])[: size - sum(parts.values())]:
        parts[name] += 1
    return parts


def second_readings(sizes: Sequence[int], overlap: float, *, seed: int) -> list[list[int]]:
    """Which images of each round two annotators shall label: the share `overlap`, drawn at random.

    The numbers add up over the rounds, so that rounds of 5 with .1 give one image in every second round.

    Args:
        sizes: how many images each round has.
        overlap: the share, 0 to 1.
        seed: same seed, same images, also when later rounds come.

    Returns:
        For each round the places in it (from 0), ascending.
    """
    chosen, before = [], 0
    for number, size in enumerate(sizes):
        count = _whole(overlap * (before + size)) - _whole(overlap * before)
        order = np.random.default_rng((seed, number)).permutation(size)
        chosen.append(sorted(int(index) for index in order[:count]))
        before += size
    return chosen


def _whole(number: float) -> int:
    return int(number + 0.5)
