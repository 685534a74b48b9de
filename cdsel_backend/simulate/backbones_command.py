"""`cdsel backbones`."""

from __future__ import annotations

from typing import get_args

import click
from rich.console import Console
from rich.table import Table

from cdsel_backend.pool.backbones import View
from cdsel_backend.pool.catalogue import KNOWN, measure
from cdsel_backend.pool.depths import Features
from cdsel_backend.pool.errors import BackboneError


@click.command()
@click.argument("names", nargs=-1)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda: where to measure.")
@click.option("--features", type=click.Choice(get_args(Features)), default="depths", show_default=True)
@click.option("--view", type=click.Choice(get_args(View)), default="close", show_default=True)
@click.option("--speed/--no-speed", default=True, help="Measure how fast each is here, in seconds a network.")
def backbones(names: tuple[str, ...], device: str, features: Features, view: View, speed: bool) -> None:
    """List backbones for the setting `backbone`: what they see, how wide their vectors are, how fast they are here.

    Without NAMES, those worth knowing; any other timm name can be given. How well one suits your images,
    `cdsel simulate --backbone a,b` tells. Speeds are without reading and decoding the images.
    """
    table = Table("backbone", "sees", "vector", "images/s here", "what for")
    for name in names or KNOWN:
        cells = ["", "", ""]
        if speed:
            click.echo(f"Measuring {name} ...", err=True)
            try:
                found = measure(name, device=device, features=features, view=view)
            except BackboneError as fault:
                raise click.ClickException(str(fault)) from fault
            height, width = found.size
            cells = [f"{width} x {height}", str(found.width), f"{found.images_per_second:.3g}"]
        table.add_row(name, *cells, KNOWN.get(name, ""))
    Console(width=None if Console().is_terminal else 140).print(table)
