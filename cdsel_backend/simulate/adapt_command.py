"""`cdsel adapt`."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

import click
from PIL import Image
from rich.console import Console

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.adapt import LEAST_BATCH, Adaptation, adapt
from cdsel_backend.pool.decode import UnreadableImage, decode
from cdsel_backend.pool.devices import find_device
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.network import DEFAULT, load_network
from cdsel_backend.pool.source import PoolSource, SourceError, SourceItem
from cdsel_backend.sources import open_source
from cdsel_backend.whole_file import not_written, whole_file

_LINES = 20  # of progress


@click.command("adapt")
@click.argument("source", metavar="FOLDER")
@click.option("--backbone", default=DEFAULT, show_default=True, help="timm model to begin with.")
@click.option("--weights", help="A local checkpoint to begin with.  [default: pretrained ones]")
@click.option("--epochs", type=click.IntRange(1), default=Adaptation.epochs, show_default=True)
@click.option(
    "--batch", type=click.IntRange(LEAST_BATCH), default=Adaptation.batch, show_default=True,
    help="Pictures a step.",
)  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=Adaptation.rate, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="Where the weights go, as .safetensors.",
)  # fmt: skip
def adapt_backbone(
    source: str,
    backbone: str,
    weights: str | None,
    epochs: int,
    batch: int,
    rate: float,
    seed: int,
    device: str,
    out: Path,
) -> None:
    """Adapt a backbone to the unlabelled images of FOLDER, without labels, and write its weights as a file.

    FOLDER may also be a table or a prefix, as for `cdsel pool add`. Name the file in the setting `backbone_weights`,
    and its folder in CDSEL_ALLOWED_WEIGHTS; whether it ranks better than the backbone as it was, `cdsel simulate
    --backbone NAME,NAME=FILE` measures on labelled images. Needs the extra `adapt`; without a GPU it takes hours.
    """
    from safetensors.torch import save

    console = Console()
    if out.suffix != ".safetensors":
        raise click.UsageError(f"--out: {out} must end in .safetensors")
    try:
        opened = open_source(source, key=secrets.token_bytes(16))
        listing = opened.list()
        items = _usable(opened, [] if listing is None else list(listing.items), console)
        network = load_network(backbone, weights=weights)
    except (SourceError, BackboneError) as fault:
        raise click.ClickException(str(fault)) from None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as draft:  # before the hours that it takes: that it cannot be written shows now
            adapt(
                network,
                lambda number: _read(opened, items[number]),
                len(items),
                Adaptation(epochs, batch, rate),
                device=find_device(device),
                seed=seed,
                progress=partial(_tell, console),
            )
            draft.write_bytes(
                save({key: value.contiguous() for key, value in network.model.state_dict().items()})
            )
    except BackboneError as fault:
        raise click.ClickException(str(fault)) from None
    except UnreadableImage as fault:
        raise click.ClickException(
            f"an image that could be read before cannot be read any more ({fault}): see that its folder or bucket is "
            "there, and begin again"
        ) from None
    except OSError as fault:
        raise click.ClickException(not_written(out, fault)) from None
    console.print(f"{backbone}, adapted to {number_of(len(items), 'image')}: {out}", markup=False)


def _usable(opened: PoolSource, items: list[SourceItem], console: Console) -> list[SourceItem]:
    """The items whose images can be read, so that no step stumbles over one later."""
    found = []
    for item in items:
        try:
            _read(opened, item)
        except UnreadableImage as fault:
            console.print(f"Left out: {item.key}: {fault}", style="yellow", markup=False)
        else:
            found.append(item)
    return found


def _read(opened: PoolSource, item: SourceItem) -> Image.Image:
    if item.problem is not None:
        raise UnreadableImage(item.problem)
    return decode(opened.read(item))


def _tell(console: Console, done: int, total: int, loss: float) -> None:
    if _LINES * done // total > _LINES * (done - 1) // total:
        console.print(f"Adapting: step {done} of {total}, loss {loss:.3f}", markup=False, highlight=False)
