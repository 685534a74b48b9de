"""What every store of vectors keeps to, and what the shipped one does when it is killed, shared or damaged."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cdsel_backend.store import vector_shelf
from cdsel_backend.store.vector_shards import VectorShards
from cdsel_backend.store.vectors import BLOCK, DamagedVectors, VectorStore


def hashes(numbers: Sequence[int]) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]


def drawn(numbers: Sequence[int], dim: int = 8) -> NDArray[np.float32]:
    """A vector for each number, the same in every process."""
    return np.stack([np.random.default_rng(number).normal(size=dim) for number in numbers]).astype(np.float32)


class InMemory:
    """The contract in as few lines as it takes: what another implementation may start from."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[dict[str, int], list[NDArray[np.float32]]]] = {}

    def append(self, backbone: str, hashes: Sequence[str], vectors: NDArray[Any]) -> NDArray[np.int64]:
        if any(len(bytes.fromhex(digest)) != 32 for digest in hashes):
            raise ValueError("a content hash is no SHA-256 in hex")
        places, rows = self._kept.setdefault(backbone, ({}, []))
        if not np.isfinite(vectors).all() or any(len(row) != vectors.shape[1] for row in rows[:1]):
            raise ValueError("a vector does not fit")
        for digest, vector in zip(hashes, vectors, strict=True):
            if digest not in places:
                places[digest] = len(rows)
                rows.append(np.array(vector, dtype=np.float32))
        return self.find(backbone, hashes)

    def find(self, backbone: str, hashes: Sequence[str]) -> NDArray[np.int64]:
        places = self._kept.get(backbone, ({}, []))[0]
        return np.array([places.get(digest, -1) for digest in hashes], dtype=np.int64)

    def count(self, backbone: str) -> int:
        return len(self._kept.get(backbone, ({}, []))[1])

    def rows(self, backbone: str, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = self._kept.get(backbone, ({}, []))[1]
        if any(not 0 <= position < len(rows) for position in positions):
            raise IndexError("no such vector")
        return np.stack([rows[at] for at in positions]) if len(positions) else np.zeros((0, 0), np.float32)

    def stream(self, backbone: str, *, start: int = 0, block: int = BLOCK) -> Iterator[NDArray[np.floating]]:
        for low in range(start, self.count(backbone), block):
            yield np.stack(self._kept[backbone][1][low : low + block])

    def verify(self, backbone: str) -> NDArray[np.int64]:
        return np.zeros(0, dtype=np.int64)

    def forget(self, backbone: str, positions: NDArray[np.int64]) -> None:
        places = self._kept[backbone][0]
        for digest in [digest for digest, at in places.items() if at in positions]:
            del places[digest]

    def backbones(self) -> list[str]:
        return sorted(self._kept)

    def remove(self, backbone: str) -> None:
        self._kept.pop(backbone, None)

    def size_bytes(self, backbone: str) -> int:
        return sum(row.nbytes for row in self._kept.get(backbone, ({}, []))[1])


@pytest.fixture(params=["shards", "toy"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VectorStore:
    monkeypatch.setattr(vector_shelf, "SHARD", 10)  # so that a few vectors fill several files
    return VectorShards(tmp_path / "vectors") if request.param == "shards" else InMemory()


# The contract


def test_what_was_appended_is_found_and_read_in_any_order(store: VectorStore) -> None:
    assert store.append("b", hashes(range(25)), drawn(range(25))).tolist() == list(range(25))
    assert store.count("b") == 25
    assert store.find("b", hashes([24, 99, 0])).tolist() == [24, -1, 0]
    wanted = [13, 0, 24, 13]
    np.testing.assert_allclose(store.rows("b", np.array(wanted)), drawn(wanted), atol=2e-3)
    assert store.rows("b", np.array(wanted)).dtype == np.float32


def test_a_content_is_kept_once(store: VectorStore) -> None:
    store.append("b", hashes([1, 2]), drawn([1, 2]))
    again = store.append("b", hashes([3, 2, 3, 1]), drawn([3, 30, 31, 32]))
    assert again.tolist() == [2, 1, 2, 0]
    assert store.count("b") == 3
    np.testing.assert_allclose(store.rows("b", np.arange(3)), drawn([1, 2, 3]), atol=2e-3)


def test_backbones_are_apart(store: VectorStore) -> None:
    store.append("b", hashes([1]), drawn([1]))
    store.append("c", hashes([1]), drawn([1], dim=3))
    assert store.backbones() == ["b", "c"]
    assert store.rows("c", np.array([0])).shape == (1, 3)
    store.remove("b")
    store.remove("b")
    assert (store.backbones(), store.count("b"), store.size_bytes("b")) == (["c"], 0, 0)
    assert store.find("b", hashes([1])).tolist() == [-1]


def test_a_stream_gives_all_in_order(store: VectorStore) -> None:
    store.append("b", hashes(range(25)), drawn(range(25)))
    parts = list(store.stream("b", start=7, block=4))
    assert max(map(len, parts)) <= 4
    np.testing.assert_allclose(np.concatenate(parts), drawn(range(7, 25)), atol=2e-3)
    assert list(store.stream("none")) == []


def test_what_does_not_fit_is_refused(store: VectorStore) -> None:
    store.append("b", hashes([1]), drawn([1]))
    with pytest.raises(ValueError, match=r"fit|values"):
        store.append("b", hashes([2]), drawn([2], dim=5))
    with pytest.raises(ValueError, match=r"fit|finite"):
        store.append("b", hashes([2]), np.full((1, 8), np.nan))
    with pytest.raises(ValueError, match=r"SHA-256|hex"):
        store.append("b", ["photo.png"], drawn([2]))
    with pytest.raises(IndexError):
        store.rows("b", np.array([1]))
    assert store.count("b") == 1


def test_what_is_forgotten_can_be_appended_anew(store: VectorStore) -> None:
    store.append("b", hashes(range(12)), drawn(range(12)))
    store.forget("b", np.array([3, 11]))
    assert store.find("b", hashes([3, 4, 11])).tolist() == [-1, 4, -1]
    assert store.append("b", hashes([11, 3]), drawn([11, 3])).tolist() == [12, 13]
    np.testing.assert_allclose(store.rows("b", np.array([13, 5])), drawn([3, 5]), atol=2e-3)


# The shipped one


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1e-3, 1.0, 60_000.0, 1e6, 1e30])
def test_vectors_of_any_size_keep_their_direction(tmp_path: Path, size: float) -> None:
    store, vectors = VectorShards(tmp_path), drawn(range(20), dim=384) * np.float32(size)
    store.append("b", hashes(range(20)), vectors)
    for found in (store.rows("b", np.arange(20)), np.concatenate(list(store.stream("b"))).astype(np.float32)):
        at = np.abs(vectors).max(axis=1, keepdims=True)
        assert np.abs(found / at - vectors / at).max() < 1e-3
        cosine = ((found / at) * (vectors / at)).sum(axis=1)
        cosine /= np.linalg.norm(found / at, axis=1) * np.linalg.norm(vectors / at, axis=1)
        assert cosine.min() > 0.99999


def test_a_stream_and_the_rows_of_one_are_views(tmp_path: Path) -> None:
    store = VectorShards(tmp_path)
    store.append("b", hashes(range(5)), drawn(range(5)))
    (part,) = store.stream("b")
    assert part.dtype == np.float16
    assert not part.flags.owndata
    assert not part.flags.writeable
    (again,) = store.stream("b")
    assert np.shares_memory(part, again)


def test_two_stores_on_one_folder_see_each_other(tmp_path: Path) -> None:
    one, other = VectorShards(tmp_path), VectorShards(tmp_path)
    one.append("b", hashes([1]), drawn([1]))
    assert other.append("b", hashes([2, 1]), drawn([2, 1])).tolist() == [1, 0]
    assert one.count("b") == 2
    np.testing.assert_allclose(one.rows("b", np.array([1])), drawn([2]), atol=2e-3)
    other.forget("b", np.array([0]))
    assert one.find("b", hashes([1])).tolist() == [-1]


def test_a_backbone_that_another_process_removed_is_begun_anew(tmp_path: Path) -> None:
    worker, command = VectorShards(tmp_path), VectorShards(tmp_path)
    worker.append("b", hashes([1, 2]), drawn([1, 2]))
    command.remove("b")
    assert worker.count("b") == 0
    assert worker.find("b", hashes([1])).tolist() == [-1]
    command.append("b", hashes([3]), drawn([3]))  # unseen by the worker in between
    command.remove("b")
    command.append("b", hashes([4, 5, 2]), drawn([4, 5, 2]))
    assert worker.append("b", hashes([2, 1]), drawn([2, 1])).tolist() == [2, 3]
    for store in (worker, command, VectorShards(tmp_path)):
        np.testing.assert_allclose(store.rows("b", np.arange(4)), drawn([4, 5, 2, 1]), atol=2e-3)
        assert not len(store.verify("b"))


@pytest.mark.parametrize("sorted_in", [True, False])
def test_what_another_process_forgot_is_kept_anew_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sorted_in: bool
) -> None:
    monkeypatch.setattr(vector_shelf, "BLOCK", 1 if sorted_in else 100)
    worker, command = VectorShards(tmp_path), VectorShards(tmp_path)
    worker.append("b", hashes([1, 2, 3]), drawn([1, 2, 3]))
    assert worker.find("b", hashes([2])).tolist() == [1]
    command.forget("b", np.array([1]))
    assert worker.find("b", hashes([2])).tolist() == [-1]
    for _ in range(2):
        assert worker.append("b", hashes([2, 4, 5]), drawn([2, 4, 5])).tolist() == [3, 4, 5]
        assert worker.find("b", hashes([2])).tolist() == [3]
        assert command.find("b", hashes([2])).tolist() == [3]


def test_many_are_found_as_few_are(tmp_path: Path) -> None:
    store, n = VectorShards(tmp_path), BLOCK + 100  # beyond what the dictionary of the newest takes
    digests, vectors = hashes(range(n)), np.arange(n, dtype=np.float32)[:, None] % 1000
    store.append("b", digests[: n - 50], vectors[: n - 50])
    assert store.find("b", digests).tolist() == [*range(n - 50), *[-1] * 50]
    store.append("b", digests, vectors)
    fresh = VectorShards(tmp_path)
    for one in (store, fresh):
        assert one.find("b", digests[::-1]).tolist() == list(range(n))[::-1]


def test_hashes_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    store = VectorShards(tmp_path)
    digests = [f"{'ab' * 16}{number:032x}" for number in range(BLOCK + 5)]
    store.append("b", digests, np.ones((len(digests), 1)))
    assert store.find("b", [digests[0], digests[700], "ab" * 32]).tolist() == [0, 700, -1]


def test_damage_is_named_and_costs_only_itself(tmp_path: Path) -> None:
    store = VectorShards(tmp_path)
    store.append("b", hashes(range(50)), drawn(range(50)))
    with (tmp_path / "b" / "000000.f16").open("r+b") as file:
        file.seek(16 * 20 + 3)
        file.write(b"\xaa\xbb")
    assert store.verify("b").tolist() == [20]
    store.forget("b", np.array([20]))
    assert VectorShards(tmp_path).verify("b").tolist() == []
    assert VectorShards(tmp_path).append("b", hashes([20]), drawn([20])).tolist() == [50]
    (tmp_path / "b" / "form.json").write_text("{")
    with pytest.raises(DamagedVectors, match=r"form\.json"):
        VectorShards(tmp_path).count("b")


def test_what_a_power_cut_left_is_taken_back(tmp_path: Path) -> None:
    VectorShards(tmp_path).append("b", hashes(range(50)), drawn(range(50)))
    values, keys = tmp_path / "b" / "000000.f16", tmp_path / "b" / "000000.key"
    with keys.open("ab") as file:  # a key and a half, and vectors that were never written: zeros
        file.write(os.urandom(60))
    with values.open("ab") as file:
        file.write(bytes(16 * 3 + 5))
    store = VectorShards(tmp_path)
    assert store.append("b", hashes([50, 51]), drawn([50, 51])).tolist() == [50, 51]
    assert VectorShards(tmp_path).verify("b").tolist() == []
    np.testing.assert_allclose(VectorShards(tmp_path).rows("b", np.arange(52)), drawn(range(52)), atol=2e-3)


# A writer of its own needs nothing that the process of the tests has not loaded.
FORK = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def _append_until_killed(folder: Path, start: int, said: Path) -> None:
    vector_shelf.SHARD = 64
    store = VectorShards(folder)
    with said.open("a", buffering=1) as file:
        for first in range(start, start + 100_000, 7):
            part = range(first, first + 7)
            file.write(f"{first} {store.append('b', hashes(part), drawn(part))[0]}\n")


def test_killed_at_any_instant_nothing_that_was_kept_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_shelf, "SHARD", 64)
    chance, said = random.Random(0), tmp_path / "said"
    said.touch()
    for turn in range(5):
        lines = len(said.read_text().splitlines())
        pair = [
            FORK.Process(target=_append_until_killed, args=(tmp_path / "v", start, said))
            for start in (turn * 200_000, turn * 200_000 + 100_000)
        ]
        for process in pair:
            process.start()
        while len(said.read_text().splitlines()) < lines + 4:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.2)
        for process in pair:
            process.kill()
            process.join()
    kept = [tuple(map(int, line.split())) for line in said.read_text().splitlines() if line.count(" ") == 1]
    assert len(kept) >= 20
    store = VectorShards(tmp_path / "v")
    assert store.append("b", hashes([-1]), drawn([5])).tolist() == [store.count("b") - 1]
    assert store.verify("b").tolist() == []
    for first, position in kept:
        part = range(first, first + 7)
        assert store.find("b", hashes(part)).tolist() == list(range(position, position + 7))
        np.testing.assert_allclose(store.rows("b", position + np.arange(7)), drawn(part), atol=2e-3)


def _append_one_by_one(folder: Path, numbers: Sequence[int], queue: Any) -> None:
    store = VectorShards(folder)
    queue.put([int(store.append("b", hashes([n]), drawn([n]))[0]) for n in numbers])


def test_two_writers_of_the_same_contents_keep_each_once(tmp_path: Path) -> None:
    queue, numbers = FORK.Queue(), list(range(60))
    pair = [
        FORK.Process(target=_append_one_by_one, args=(tmp_path, order, queue))
        for order in (numbers, numbers[::-1])
    ]
    for process in pair:
        process.start()
    one, other = queue.get(timeout=120), queue.get(timeout=120)
    for process in pair:
        process.join()
    assert sorted(one) == sorted(other) == numbers
    assert VectorShards(tmp_path).count("b") == 60
