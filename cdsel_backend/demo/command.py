"""`cdsel demo`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import click
import httpx
from rich.console import Console

from cdsel_backend.demo.sample import GROUP_COLUMN, IMAGE_COLUMN, LABEL_COLUMN
from cdsel_backend.table import UsageError, names_given

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--auto", is_flag=True, help="Label by script with the known truth, then end.")
@click.option(
    "--rounds", default=3, show_default=True, type=click.IntRange(1), help="Rounds to run with --auto."
)
@click.option(
    "--round-size", default=20, show_default=True, type=click.IntRange(1), help="Images of one round."
)
@click.option(
    "--budget", type=click.IntRange(1), help="Images to label in all.  [default: rounds x round size]"
)
@click.option(
    "--labels",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Label so many images by script first, to see what the pages show later on; they come on top of the budget.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Of all that is random."
)
@click.option(
    "--json",
    "json_out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the results of --auto here.",
)
@click.option(
    "--metadata", type=FILE, help="CSV table of your own labelled images, instead of the sample pool."
)
@click.option("--images", type=FOLDER, help="Folder that its paths start from.  [default: the table's own]")
@click.option("--image-column", default=IMAGE_COLUMN, show_default=True, help="Its column with the paths.")
@click.option("--label", default=None, help="Its column with the label.")
@click.option("--group", default=None, help="Its column that names the patient or lesion.")
@click.option(
    "--ignore",
    default="",
    help="Its columns that are no confounders, such as consequences of the label: a,b.",
)
@click.option(
    "--limit",
    type=click.IntRange(2),
    help="Take a random subset of so many images; of the sample pool, draw so many.",
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep everything in this new folder."
)
def demo(**given: Any) -> None:
    """Try the whole loop: Label Studio, a pool of images, the backend, and a queue to label.

    Without --metadata the pool is drawn: two sites whose cameras differ, one of which sees most of the
    malignant lesions. Everything runs on 127.0.0.1 and is ended and removed by Ctrl-C.
    """
    from cdsel_backend.demo.annotator import OutOfOrder
    from cdsel_backend.demo.live import DemoFailed, Options
    from cdsel_backend.demo.process import DidNotStart
    from cdsel_backend.demo.run import run_demo
    from cdsel_backend.demo.studio import LabelStudioMissing
    from cdsel_backend.labelstudio.client import LabelStudioError

    options = Options(**_checked(given))
    # A plain kill is to end what we started just as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        # Paths and problems are printed as they are, whatever brackets they hold.
        run_demo(options, Console(highlight=False, markup=False, soft_wrap=True))
    except KeyboardInterrupt:
        if options.auto:
            raise
    except (UsageError, FileExistsError, LabelStudioMissing) as fault:
        raise click.UsageError(str(fault)) from None
    except (DidNotStart, DemoFailed, OutOfOrder, LabelStudioError, httpx.HTTPError) as fault:
        raise click.ClickException(str(fault) or repr(fault)) from None


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """What fits together of the options, as fields of Options."""
    given["ignore"] = tuple(names_given(given["ignore"]))
    if given["metadata"] is None:
        for name in ("images", "label", "group", "ignore"):
            if given[name]:
                raise click.UsageError(f"--{name} describes a table of your own: name that with --metadata")
        given["label"], given["group"] = LABEL_COLUMN, GROUP_COLUMN
    elif given["label"] is None:
        raise click.UsageError("--metadata needs --label, the column with the label")
    if given["labels"] and given["auto"]:
        raise click.UsageError("--auto labels everything by script: leave --labels out")
    if given["json_out"] is not None and not given["auto"]:
        raise click.UsageError("--json writes the results of --auto: give that, too")
    if given["json_out"] is not None and not given["json_out"].resolve().parent.is_dir():
        raise click.UsageError(f"--json: there is no folder {given['json_out'].resolve().parent}")
    if given["budget"] is not None:
        given["budget"] += given["labels"]
    if given["budget"] is not None and given["budget"] < given["round_size"]:
        raise click.UsageError("--budget is smaller than --round-size: lower that, too")
    return given
