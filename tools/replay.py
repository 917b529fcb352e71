"""`tools/mdjournal replay`: write the images that recovery would leave."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.storage.array_files import read_array
from harness.storage.replay import Replayed, replay_to
from harness.verdict.journal_text import plan_lines
from tools.offline_options import chosen_era, images_argument, model_options

_MOST_OUTSIDE = 10


@click.command()
@images_argument
@model_options
@click.option(
    "--out", required=True, metavar="DIR", type=click.Path(path_type=Path),
    help="Where the images go, under the same file names.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite files in DIR.")
@click.option("--degraded", is_flag=True, help="Go on without members that are not given.")
@click.option(
    "--seed", type=int, default=0, show_default=True,
    help="For the sequence number where the kernel draws one.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def replay(
    *,
    images: tuple[Path, ...],
    era_name: str | None,
    kernel_version: str | None,
    stripe_cache_size: int,
    out: Path,
    force: bool,
    degraded: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Write copies of the IMAGEs, members and journal, as the kernel's recovery would leave them.

    The IMAGEs themselves are only read. Give all of the array's members and its journal, in any
    order.
    """
    files = read_array(images, degraded=degraded)
    replayed = replay_to(
        files, out, era=chosen_era(era_name, kernel_version), seed=seed, force=force,
        stripe_cache_size=stripe_cache_size,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(_document(replayed, out), indent=1))
        return
    for line in _lines(replayed, len(files.paths), out):
        click.echo(line)


def _lines(replayed: Replayed, images: int, out: Path) -> list[str]:
    lines = plan_lines(replayed.plan)
    for write in replayed.outside[:_MOST_OUTSIDE]:
        lines.append(
            f"left out: a page for sector {write.sector} of member {write.device}, which lies"
            " outside the array (the kernel would write it)"
        )
    if len(replayed.outside) > _MOST_OUTSIDE:
        lines.append(f"and {len(replayed.outside) - _MOST_OUTSIDE} more such pages")
    return [*lines, f"{replayed.pages_written} pages written; {images} images in {out}"]


def _document(replayed: Replayed, out: Path) -> dict[str, object]:
    plan = replayed.plan
    return {
        "schema": 1,
        "era": replayed.era.name,
        "out": str(out),
        "message": plan.message,
        "pages_written": replayed.pages_written,
        "outside": [{"member": w.device, "sector": w.sector} for w in replayed.outside],
        "journal_tail": plan.journal_tail,
    }
