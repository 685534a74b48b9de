"""How the tail of a network learns: with a linear classifier on its vectors, from batches of balanced cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.split import SplitNetwork
from cdsel_backend.training.fitting import sample_weights

_BATCH = 16
_FEWEST_STEPS, _MOST_STEPS = 40, 200  # batches of a stage: once through the labels, within these bounds
_RATE = 1e-4
_CLASSIFIER_RATE = 1e-3
_DECAY = 1e-4
_SCALE = 10.0  # length of the classifier's inputs, where `_CLASSIFIER_RATE` suits them


class TailTraining:
    """A network's tail and the t items that it learns on.

    `own` (t, *shape) and `altered` (t, v, *shape) are activations of the items and of their copies; `codes` (t,) their
    classes as indices into `present`, the classes that occur.
    """

    def __init__(
        self,
        network: SplitNetwork,
        own: NDArray[np.float16],
        altered: NDArray[np.float16],
        columns: Sequence[Column],
        labels: NDArray[np.integer],
    ) -> None:
        if len(own) != len(altered):
            raise ValueError(f"{len(own)} items are trained on, but {len(altered)} have altered copies")
        self.network, self.own, self.altered, self.columns = network, own, altered, columns
        self.present, self.codes = np.unique(labels, return_inverse=True)

    def restore(self, weights: Sequence[torch.Tensor]) -> None:
        """Give the tail weights that `run` kept."""
        with torch.no_grad():
            for weight, kept in zip(self.network.weights, weights, strict=True):
                weight.copy_(kept)

    def run(
        self, used: NDArray[np.bool_], frozen: NDArray[np.float32], stages: int, seed: int
    ) -> list[list[torch.Tensor]]:
        """Tune the tail on the items `used` (t,), and return its weights after each stage; it has the last of them."""
        network, device = self.network, self.network.device
        network.reset()
        generator = torch.Generator().manual_seed(seed)
        items = np.flatnonzero(used)
        chance = torch.from_numpy(
            sample_weights(self.codes[items], [column.take(items) for column in self.columns], "cell")
        )
        classifier = _Classifier(frozen, self.columns, items, len(self.present)).to(device)
        rates = [
            {"params": network.weights, "lr": _RATE},
            {"params": list(classifier.parameters()), "lr": _CLASSIFIER_RATE},
        ]
        for weight in network.weights:
            weight.requires_grad_(True)
        optimiser = torch.optim.AdamW(rates, weight_decay=_DECAY)
        steps = int(np.clip(-(-len(items) // _BATCH), _FEWEST_STEPS, _MOST_STEPS))
        warm = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / steps))
        target = torch.from_numpy(self.codes).to(device)
        kept: list[list[torch.Tensor]] = []
        for _ in range(stages):
            for _ in range(steps):
                picked = items[
                    torch.multinomial(chance, _BATCH, replacement=True, generator=generator).numpy()
                ]
                view = torch.randint(self.altered.shape[1] + 1, (_BATCH,), generator=generator).numpy()
                with network.precision():
                    vectors = network.tail(network.load(self._views(picked, view)))
                    loss = torch.nn.functional.cross_entropy(
                        classifier(vectors.float(), picked), target[picked]
                    )
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                warm.step()
            kept.append([weight.detach().clone() for weight in network.weights])
        for weight in network.weights:
            weight.requires_grad_(False)
        return kept

    def _views(self, picked: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.float16]:
        """One view of each picked item: its own activations for 0, else those of an altered copy."""
        found = self.own[picked]
        changed = view > 0
        found[changed] = self.altered[picked[changed], view[changed] - 1]
        return found


class _Classifier(torch.nn.Module):
    """Linear on vectors (m, d), standardised as the frozen ones (t, d) were, with an intercept for each level."""

    mean: torch.Tensor
    factor: torch.Tensor
    levels: torch.Tensor

    def __init__(
        self, frozen: NDArray[np.float32], columns: Sequence[Column], items: NDArray[np.int64], classes: int
    ) -> None:
        super().__init__()
        mean, spread = frozen[items].mean(axis=0), frozen[items].std(axis=0)
        spread += 0.05 * max(float(spread.mean()), 1e-6)  # a dimension that hardly varies is not blown up
        indicators = [np.eye(len(column.levels))[column.codes] for column in columns]
        levels = np.hstack([np.zeros((len(frozen), 0)), *indicators])
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("factor", torch.from_numpy(_SCALE / (spread * np.sqrt(len(spread)))).float())
        self.register_buffer("levels", torch.from_numpy(levels).float())
        self.slopes = torch.nn.Parameter(torch.zeros(classes, len(spread)))
        self.level_slopes = torch.nn.Parameter(torch.zeros(classes, levels.shape[1]))
        self.intercepts = torch.nn.Parameter(torch.zeros(classes))

    def forward(self, vectors: torch.Tensor, items: NDArray[np.int64]) -> torch.Tensor:
        """Scores (m, p) of vectors (m, d) of the training items with these numbers."""
        scores = ((vectors - self.mean) * self.factor) @ self.slopes.T + self.intercepts
        return scores + self.levels[torch.from_numpy(items).to(scores.device)] @ self.level_slopes.T


@contextmanager
def deterministic() -> Iterator[None]:
    """Only algorithms that give the same bits each time, where there is a choice."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
