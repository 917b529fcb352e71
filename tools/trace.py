"""`tools/mdjournal trace`: show, export and import recorded traces."""

from __future__ import annotations

import json
import mmap
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from harness.crash.log_writes import (
    MAGIC,
    BadLog,
    LogFlag,
    completed,
    export_disk,
    import_log,
    read_entries,
    read_super,
)
from harness.crash.trace import (
    BadTrace,
    Cache,
    Mark,
    Trace,
    decode,
    encode_event,
    encode_header,
)
from harness.crash.trace_text import (
    HEADING,
    documents,
    event_line,
    printable,
    summarise,
    summary_lines,
)
from harness.errors import BadInput
from harness.storage.atomic import replacing
from harness.storage.images import naming_full_disk

SCHEMA = 1
_LOG_MAGIC = MAGIC.to_bytes(8, "little")
_trace_argument = click.argument("path", metavar="TRACE", type=click.Path(path_type=Path))
_out_option = click.option(
    "--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help="What to write."
)
_force_option = click.option("--force", is_flag=True, help="Overwrite FILE.")


@click.group()
def trace() -> None:
    """Show recorded traces; export and import them in the dm-log-writes format."""


@trace.command()
@_trace_argument
@click.option("--disk", metavar="NAME", help="Only this disk's events, and marks.")
@click.option("--from", "first", type=click.IntRange(0), metavar="N", help="Begin at event N.")
@click.option("--to", "last", type=click.IntRange(0), metavar="N", help="End with event N.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(
    *, path: Path, disk: str | None, first: int | None, last: int | None, as_json: bool
) -> None:
    """Print what TRACE holds: a summary, then one line for each event.

    An event's number is its place in the one order of all disks; `crash --cut` counts from the
    workload's beginning.
    """
    read = read_trace(path)
    if disk is not None:
        _require_disk(read, disk, path)
    chosen = _chosen(read, disk, first, last)
    if as_json:
        head = {"schema": SCHEMA, "trace": str(path), "summary": summarise(read).document()}
        # Event by event: one string of all of them would take many times the trace's size.
        click.echo(json.dumps(head).removesuffix("}") + ', "events": [', nl=False)
        for number, document in enumerate(chosen):
            click.echo(f"{',' if number else ''}\n{json.dumps(document)}", nl=False)
        click.echo("\n]}")
        return
    for line in summary_lines(summarise(read)):
        click.echo(printable(line))
    click.echo(HEADING)
    for document in chosen:
        click.echo(event_line(document))


@trace.command("export")
@_trace_argument
@click.option("--disk", required=True, metavar="NAME", help="Whose requests.")
@_out_option
@_force_option
def export_trace(*, path: Path, disk: str, out: Path, force: bool) -> None:
    """Write one disk's requests, and all marks, as a dm-log-writes log.

    Its entries stand in order of completion. What failed or never completed is left out.
    """
    read = read_trace(path)
    _require_disk(read, disk, path)
    _require_free(out, path, force=force)
    try:
        pieces = export_disk(read, disk)
    except BadInput as bad:
        raise BadInput(f"{path}: {bad}") from bad
    _write(out, pieces)
    index = read.disk_index(disk)
    entries = tuple(completed(read, index))
    marks = sum(isinstance(entry, Mark) for entry in entries)
    summary = summarise(read).disks[index]
    click.echo(
        f"{out}: {len(entries)} entries, {marks} of them marks; left out: {summary.failed} failed,"
        f" {summary.unanswered} in flight at the end"
    )


@trace.command("import")
@click.argument("path", metavar="LOG", type=click.Path(path_type=Path))
@_out_option
@click.option("--name", required=True, help="What to call the disk.")
@click.option(
    "--size", type=click.IntRange(1), metavar="BYTES",
    help="The disk's size, which a log does not tell. Default: up to its last write.",
)  # fmt: skip
@click.option(
    "--cache", type=click.Choice([cache.value for cache in Cache]),
    default=Cache.WRITE_BACK.value, show_default=True,
    help="The disk's cache, which a log does not tell either.",
)  # fmt: skip
@_force_option
def import_trace(
    *, path: Path, out: Path, name: str, size: int | None, cache: str, force: bool
) -> None:
    """Write a dm-log-writes LOG as the trace of one disk.

    Such a log has one order, that of its entries: no two requests of the trace overlap.
    """
    log = _map(path)
    _require_free(out, path, force=force)
    try:
        imported = import_log(log, name=name, size_bytes=size, cache=Cache(cache))
        hints = sum(LogFlag.METADATA in entry.flags for entry in read_entries(log))
        entries = read_super(log).entries
    except BadLog as bad:
        raise BadInput(f"{path}: {bad}") from bad
    _write(out, _encoded(imported))
    dropped = f"; {hints} had the METADATA hint, which a trace does not keep" if hints else ""
    click.echo(f"{out}: {len(imported.events)} events of {entries} entries{dropped}")


def read_trace(path: Path) -> Trace:
    """Read a trace file.

    Raises:
        BadInput: it cannot be read, or is no trace; the message names the file and the reason.
    """
    with _opened(path) as file:
        data = file.read()
    try:
        return decode(data)
    except BadTrace as bad:
        hint = "`crash --keep` leaves one called trace.mdjtrace"
        if data.startswith(_LOG_MAGIC):
            hint = "this is a dm-log-writes log, which `trace import` makes a trace of"
        raise BadInput(f"{path}: is no trace that can be read: {bad};\n  {hint}") from bad


def _opened(path: Path) -> BinaryIO:
    try:
        # Before it is opened: opening a FIFO waits for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "no regular file; copy it into one first (dd)"
            raise BadInput(f"{path}: is {kind}")
        return path.open("rb")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error


def _map(path: Path) -> memoryview:
    """Give a file's bytes without reading them all: a log device is mostly unused."""
    with _opened(path) as file:
        if not path.stat().st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _require_disk(read: Trace, disk: str, path: Path) -> None:
    names = [each.name for each in read.disks]
    if disk not in names:
        known = ", ".join(names) or "none"
        raise BadInput(f"{path}: has no disk called {disk!r}; it has: {printable(known)}")


def _require_free(out: Path, source: Path, *, force: bool) -> None:
    if not out.exists():
        return
    if out.samefile(source):
        raise BadInput(f"{out}: is what is to be read; name another file")
    if not out.is_file():
        raise BadInput(f"{out}: is no regular file; name another")
    if not force:
        raise BadInput(f"{out}: is there already; say --force, or name another file")


def _write(out: Path, pieces: Iterable[bytes]) -> None:
    try:
        with naming_full_disk(out), replacing(out) as temporary, temporary.open("wb") as file:
            for piece in pieces:
                if piece.count(0) == len(piece):
                    file.seek(len(piece), 1)  # a hole
                else:
                    file.write(piece)
            file.truncate()
    except OSError as error:
        raise BadInput(f"{out}: cannot be written: {error.strerror}") from error


def _encoded(imported: Trace) -> Iterator[bytes]:
    yield encode_header(imported.disks)
    for event in imported.events:
        yield encode_event(event)


def _chosen(
    read: Trace, disk: str | None, first: int | None, last: int | None
) -> Iterator[dict[str, Any]]:
    wanted = None if disk is None else read.disk_index(disk)
    for event, document in documents(read):
        if last is not None and event.sequence > last:
            return
        if first is not None and event.sequence < first:
            continue
        if isinstance(event, Mark) or wanted is None or event.disk == wanted:
            yield document
