"""`tools/mdjournal dump`: print a write journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from harness.errors import BadInput
from harness.ondisk.log import (
    BrokenPayload,
    DataPayload,
    FlushPayload,
    ParityPayload,
    Payload,
    placed_payloads,
)
from harness.ondisk.units import LogSector
from harness.recovery.log import ScannedMeta, StripeReplay, ring_of
from harness.recovery.members import Array, format_uuid
from harness.recovery.plan import RecoveryPlan
from harness.storage.array_files import ArrayFiles, read_journaled
from harness.storage.atomic import replacing
from harness.storage.images import naming_full_disk
from harness.storage.plans import LiveMetas, outline_of, replays_of
from harness.storage.ring_pictures import draw_journal
from harness.storage.ring_survey import read_differences
from harness.verdict.journal_text import journal_lines, plan_lines
from tools.json_lines import json_lines
from tools.offline_options import chosen_era, images_argument, model_options
from tools.progress import watched


@click.command()
@images_argument
@model_options
@click.option("--all", "whole", is_flag=True, help="Print every meta block, not the ends only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, always whole.")
@click.option(
    "--svg", "svg", metavar="FILE", type=click.Path(path_type=Path),
    help="Draw a map of the journal's ring into FILE as well.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite the FILE of --svg.")
def dump(
    *,
    images: tuple[Path, ...],
    era_name: str | None,
    kernel_version: str | None,
    stripe_cache_size: int,
    whole: bool,
    as_json: bool,
    svg: Path | None,
    force: bool,
) -> None:
    """Print the write journal among the IMAGEs: what it holds, where it ends, what follows.

    Members are not needed; those that are given are checked to be of the same array.
    """
    era = chosen_era(era_name, kernel_version)
    files = read_journaled(images)
    if svg is not None:
        _require_free(svg, images, force=force)
    with watched("dump") as watch:
        seen = replace(files, watch=watch)
        plan = outline_of(seen, era, stripe_cache_size=stripe_cache_size)
        differences = read_differences(seen, era, stripe_cache_size=stripe_cache_size)
        if svg is not None:
            _write_map(svg, draw_journal(seen, plan, era))
    metas = LiveMetas(files, era)
    if as_json:
        replays = replays_of(files, era, stripe_cache_size=stripe_cache_size)
        document = {
            "schema": 1, "era": era.name, **_array_document(files),
            "metas": (_meta_document(scanned, files) for scanned in metas),
            "end": _end_document(plan), "recovery": _plan_document(plan, replays),
            "eras_that_differ": [asdict(one) for one in differences],
        }  # fmt: skip
        for line in json_lines(document):
            click.echo(line)
        return
    for line in _array_lines(files):
        click.echo(line)
    for line in journal_lines(metas, plan, files.array.geometry, whole=whole):
        click.echo(line)
    click.echo(f"recovery (era {era.name}):")
    for line in plan_lines(plan):
        click.echo(f"  {line}")
    for difference in differences:
        click.echo(f"  not so on a kernel of era {difference}")
    if svg is not None:
        click.echo(f"map      {svg}")


def _require_free(target: Path, images: tuple[Path, ...], *, force: bool) -> None:
    """Refuse early what must not be written over; that it can be written shows later."""
    try:
        if target.is_dir():
            raise BadInput(f"{target}: is a folder; name a file in it")
        if target.exists() and any(target.samefile(image) for image in images):
            raise BadInput(f"{target}: is one of the images; name another file")
        if target.exists() and not target.is_file():
            raise BadInput(f"{target}: is no regular file; name another")
        if (target.exists() or target.is_symlink()) and not force:
            raise BadInput(f"{target}: is there already; say --force, or name another file")
    except OSError as error:
        raise _unwritable(target, error) from error


def _write_map(target: Path, text: str) -> None:
    try:
        with naming_full_disk(target), replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> BadInput:
    return BadInput(f"{target}: cannot be written: {error.strerror}; name another file")


def _array_lines(files: ArrayFiles) -> list[str]:
    array, journal = files.array, files.journal
    geometry = array.geometry
    present = ", ".join(
        f"{slot}: {'+'.join(Path(name).name for name in names)}"
        for slot, names in sorted(array.members.items())
    )
    return [
        f"array    {format_uuid(array.set_uuid)} {_name(array)}",
        (
            f"         RAID-{geometry.level:d} {geometry.layout.name}, {geometry.raid_disks}"
            f" members of {geometry.component_sectors} sectors, chunk {geometry.chunk_sectors}"
            " sectors"
        ),
        f"members  {present or 'none given'}{_gaps(array)}",
        (
            f"journal  {Path(files.journal_label).name}: {journal.data_size} sectors, tail"
            f" {journal.journal_tail}, {journal.events} events"
        ),
    ]


def _name(array: Array) -> str:
    return array.superblocks[array.freshest].set_name.decode(errors="replace")


def _gaps(array: Array) -> str:
    parts = []
    if array.absent:
        parts.append(f"failed or empty: {', '.join(map(str, array.absent))}")
    if array.missing:
        parts.append(f"not given: {', '.join(map(str, array.missing))}")
    return f" ({'; '.join(parts)})" if parts else ""


def _array_document(files: ArrayFiles) -> dict[str, Any]:
    array, journal, geometry = files.array, files.journal, files.array.geometry
    return {
        "array": {
            "uuid": format_uuid(array.set_uuid), "name": _name(array), "level": int(geometry.level),
            "layout": geometry.layout.name, "raid_disks": geometry.raid_disks,
            "chunk_sectors": geometry.chunk_sectors,
            "component_sectors": geometry.component_sectors,
            "members": {str(slot): list(names) for slot, names in sorted(array.members.items())},
            "failed_or_empty": list(array.absent), "not_given": list(array.missing),
        },
        "journal": {
            "image": files.journal_label, "data_offset_sectors": journal.data_offset,
            "data_size_sectors": journal.data_size, "journal_tail": journal.journal_tail,
            "events": journal.events,
        },
    }  # fmt: skip


def _meta_document(scanned: ScannedMeta, files: ArrayFiles) -> dict[str, Any]:
    placed = placed_payloads(scanned.meta, ring_of(files.journal.data_size).size)
    return {
        "position": scanned.meta.position, "seq": scanned.meta.seq,
        "meta_size": scanned.meta.meta_size, "log_sectors": scanned.log_sectors,
        "dropped": None if scanned.dropped is None else scanned.dropped.reason,
        "payloads": [_payload_document(payload, pages_at) for payload, pages_at in placed],
    }  # fmt: skip


def _payload_document(payload: Payload | BrokenPayload, pages_at: LogSector) -> dict[str, Any]:
    match payload:
        case BrokenPayload(offset=offset, reason=reason):
            return {"type": "broken", "offset": offset, "reason": reason}
        case DataPayload() | ParityPayload():
            kind = "data" if isinstance(payload, DataPayload) else "parity"
            return {
                "type": kind, "flags": payload.flags, "size": payload.size,
                "location": payload.location, "pages_at": pages_at,
                "checksums": [f"{checksum:08x}" for checksum in payload.checksums],
            }  # fmt: skip
        case FlushPayload():
            return {
                "type": "flush", "flags": payload.flags, "size": payload.size,
                "stripes": list(payload.stripes),
            }  # fmt: skip
        case unknown:
            return {"type": unknown.type, "flags": unknown.flags, "size": unknown.size}


def _end_document(plan: RecoveryPlan) -> dict[str, Any]:
    rejected = plan.created if plan.ended is None else plan.ended.rejected
    if rejected is None:
        assert plan.ended is not None
        return {"position": plan.ended.position, "check": "unreadable"}
    return {
        "position": rejected.at, "check": rejected.fault.value, "found": rejected.found,
        "wanted": rejected.wanted,
    }  # fmt: skip


def _plan_document(plan: RecoveryPlan, replays: Iterable[StripeReplay]) -> dict[str, Any]:
    empty = plan.empty_meta
    return {
        "message": plan.message,
        "creates_new_log": plan.created is not None,
        "data_parity_stripes": [replay.stripe for replay in replays],
        "data_only_stripes": [stripe.stripe for stripe in plan.data_only],
        "empty_meta": None if empty is None else {"position": empty.position, "seq": empty.seq},
        "journal_tail": plan.journal_tail,
    }
