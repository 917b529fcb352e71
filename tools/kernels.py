"""`tools/mdjournal kernels`: which kernels there are, and fetching and removing them."""

from __future__ import annotations

import json
from typing import Any

import click

from kvm_images import store
from kvm_images.kernels import CATALOGUE, base_of


@click.group()
def kernels() -> None:
    """List, fetch and remove the kernels that guests run."""


@kernels.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_kernels(*, as_json: bool) -> None:
    """Show the catalogue, and what of it is in the cache."""
    rows = _rows()
    if as_json:
        click.echo(json.dumps({"schema": 1, "kernels": rows}, indent=1))
        return
    click.echo(f"{'NAME':<12} {'FETCHED':<26} {'SIZE':>8}  STANDS FOR")
    for row in rows:
        size = f"{row['size_bytes'] / 2**20:.0f} MiB" if row["size_bytes"] else "-"
        click.echo(
            f"{row['name'] or '-':<12} {row['version'] or '-':<26} {size:>8}  {row['sentence']}"
        )


@kernels.command("fetch")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def fetch_kernels(names: tuple[str, ...]) -> None:
    """Fetch what each catalogue NAME stands for in the archive now."""
    for name in names:
        store.fetch(name, say=click.echo)


@kernels.command("remove")
@click.argument("name", metavar="NAME")
def remove_kernel(name: str) -> None:
    """Remove a kernel from the cache, by catalogue name, version or release."""
    for removed in store.remove(name):
        click.echo(f"removed {removed}")


def _rows() -> list[dict[str, Any]]:
    """A row for each catalogue name, then one for each fetched kernel that no name stands for."""
    fetched = store.fetched()
    by_name = {name: each for each in fetched for name in each.names}
    rows = [
        _row(name, entry.sentence, list(entry.suites), by_name.get(name))
        for name, entry in CATALOGUE.items()
    ]
    rows += [
        _row(name, f"debug kernel built from the source of {base}", [], by_name[name])
        for name in sorted(by_name)
        if (base := base_of(name))
    ]
    unnamed = [each for each in fetched if not each.names]
    return rows + [_row(None, "fetched earlier; use its version", [], each) for each in unnamed]


def _row(
    name: str | None, sentence: str, suites: list[str], fetched: store.Fetched | None
) -> dict[str, Any]:
    kernel = fetched.kernel if fetched else None
    return {
        "name": name,
        "sentence": sentence,
        "suites": suites,
        "version": kernel.version if kernel else None,
        "release": kernel.release if kernel else None,
        "suite": kernel.suite if kernel else None,
        "identity": kernel.identity if kernel else None,
        "size_bytes": fetched.size_bytes if fetched else None,
        "fetched_at": fetched.fetched_at if fetched else None,
    }
