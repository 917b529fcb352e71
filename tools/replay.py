"""`tools/mdjournal replay`: write the images that recovery would leave."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import click

from harness.errors import BadInput
from harness.recovery.era import Era
from harness.recovery.log import StripeReplay
from harness.recovery.plan import DataOnlyStripe, EmptyMeta, RewrittenMeta
from harness.storage.array_files import ArrayFiles, read_array
from harness.storage.in_place import replay_in_place
from harness.storage.plans import replays_of
from harness.storage.replay import Replayed, rehearse, replay_to
from harness.storage.undo_file import apply_undo
from harness.verdict.journal_text import plan_lines, stripe_lines
from tools.json_lines import json_lines
from tools.offline_options import chosen_era, model_options
from tools.progress import watched

_MOST_OUTSIDE = 10


@click.command()
@click.argument("images", nargs=-1, metavar="IMAGE...", type=click.Path(path_type=Path))
@model_options
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path),
    help="Write the images here, under the same file names.",
)  # fmt: skip
@click.option("--in-place", is_flag=True, help="Change the IMAGEs themselves, undo file first.")
@click.option(
    "--undo-file", metavar="FILE", type=click.Path(path_type=Path),
    help="Where --in-place saves what it changes. Default: beside the journal, JOURNAL.undo.",
)  # fmt: skip
@click.option(
    "--undo", "undo", metavar="FILE", type=click.Path(path_type=Path),
    help="Put back what an earlier --in-place changed; no IMAGE then.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
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
    out: Path | None,
    in_place: bool,
    undo_file: Path | None,
    undo: Path | None,
    dry_run: bool,
    force: bool,
    degraded: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Make of the IMAGEs, members and journal, what the kernel's recovery would leave.

    Give all of the array's members and its journal, in any order, and one of --out DIR (copies;
    the IMAGEs are only read), --in-place, --dry-run; or --undo FILE alone.
    """
    _require_one_way(
        out=out is not None, in_place=in_place, undo=undo is not None, dry_run=dry_run,
        undo_file=undo_file is not None, force=force, images=bool(images),
    )  # fmt: skip
    if undo is not None:
        _put_back(undo, as_json=as_json)
        return
    files = read_array(images, degraded=degraded)
    era = chosen_era(era_name, kernel_version)
    if dry_run:
        for line in _dry_run(files, era, stripe_cache_size, seed, as_json=as_json):
            click.echo(line)
        return
    with watched("replay") as watch:
        seen = replace(files, watch=watch)
        if out is not None:
            done = replay_to(
                seen, out, era=era, seed=seed, force=force, stripe_cache_size=stripe_cache_size
            )
            where = f"in {out}"
        else:
            journal = files.paths[files.journal_label]
            saved = undo_file or journal.with_name(f"{journal.name}.undo")
            done = replay_in_place(
                seen, saved, era=era, seed=seed, stripe_cache_size=stripe_cache_size
            )
            where = f"changed in place; to undo: replay --undo {saved}"
    if as_json:
        click.echo(json.dumps(_document(done, where), indent=1))
        return
    for line in _lines(done, len(files.paths), where):
        click.echo(line)


def _require_one_way(
    *, out: bool, in_place: bool, undo: bool, dry_run: bool, undo_file: bool, force: bool,
    images: bool,
) -> None:  # fmt: skip
    """Refuse what the options, given or not, cannot mean together."""
    if out + in_place + undo + dry_run != 1:
        raise BadInput("give one of --out DIR, --in-place, --dry-run, --undo FILE")
    if undo_file and not in_place:
        raise BadInput("--undo-file FILE: only --in-place writes one; to undo, say --undo FILE")
    if force and not out:
        raise BadInput("--force: only --out DIR overwrites files; leave it out")
    if undo and images:
        raise BadInput("--undo FILE: takes no IMAGE; the file knows which it is about")


def _put_back(undo: Path, *, as_json: bool) -> None:
    count = apply_undo(undo)
    if as_json:
        document = {"schema": 1, "undo_file": str(undo), "places_put_back": count}
        click.echo(json.dumps(document, indent=1))
    else:
        click.echo(f"{count} places put back as they were before; {undo} can be removed")


def _dry_run(
    files: ArrayFiles, era: Era, stripe_cache_size: int, seed: int, *, as_json: bool
) -> Iterator[str]:
    with watched("replay") as watch:
        seen = replace(files, watch=watch)
        done = rehearse(seen, era=era, seed=seed, stripe_cache_size=stripe_cache_size)
    geometry = files.array.geometry
    replays = replays_of(files, era, stripe_cache_size=stripe_cache_size)
    if as_json:
        yield from json_lines(_dry_document(done, replays))
        return
    yield from _what_is_done(done)
    yield from stripe_lines("replay", replays, geometry)
    yield from stripe_lines("write out", done.plan.data_only, geometry)


def _dry_document(done: Replayed, replays: Iterable[StripeReplay]) -> dict[str, object]:
    """Return what would be done; the replays, which may be millions, are taken one by one."""
    plan = done.plan
    return {
        "schema": 1,
        "era": done.era.name,
        "message": plan.message,
        "data_parity": (_stripe_document(stripe) for stripe in replays),
        "data_only": [_stripe_document(stripe) for stripe in plan.data_only],
        "written_out": plan.written_out,
        "empty_metas": [_meta_document(meta) for meta in plan.empty_metas],
        "rewritten": [_meta_document(meta) for meta in plan.rewritten],
        "journal_tail": plan.journal_tail,
        "pages_outside": done.pages_outside,
    }


def _meta_document(meta: EmptyMeta | RewrittenMeta) -> dict[str, object]:
    return {"position": meta.position, "seq": meta.seq}


def _stripe_document(stripe: StripeReplay | DataOnlyStripe) -> dict[str, object]:
    pages = [{"member": device, "from": position} for device, position in stripe.pages]
    return {"stripe": stripe.stripe, "pages": pages}


def _lines(replayed: Replayed, images: int, where: str) -> list[str]:
    pages = f"{replayed.pages_written} pages written; {images} images {where}"
    return [*_what_is_done(replayed), pages]


def _what_is_done(replayed: Replayed) -> list[str]:
    plan = replayed.plan
    lines = plan_lines(plan)
    if plan.created is not None:
        lines.append(
            f"the block at the tail is bad ({plan.created}): the log is begun anew, and what the"
            " old one holds is given up"
        )
        if any(meta.seq is None for meta in plan.empty_metas):
            lines.append(f"the random sequence here is {replayed.drawn} (--seed)")
    for write in replayed.outside[:_MOST_OUTSIDE]:
        lines.append(
            f"left out: a page for sector {write.sector} of member {write.device}, which lies"
            " outside the array (the kernel would write it)"
        )
    if replayed.pages_outside > _MOST_OUTSIDE:
        lines.append(f"and {replayed.pages_outside - _MOST_OUTSIDE} more such pages")
    return lines


def _document(replayed: Replayed, where: str) -> dict[str, object]:
    plan = replayed.plan
    return {
        "schema": 1,
        "era": replayed.era.name,
        "images": where,
        "message": plan.message,
        "pages_written": replayed.pages_written,
        "outside": [{"member": w.device, "sector": w.sector} for w in replayed.outside],
        "pages_outside": replayed.pages_outside,
        "journal_tail": plan.journal_tail,
    }
