"""`tools/mdjournal images`: list, build and remove what guests boot."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from harness.storage.directories import cache_root
from kvm_images import debian_root, kernels, store, tiny_guest
from kvm_images.debug_kernel import building
from kvm_images.userland import userland
from tools.progress import progress, seldom

_ROOT = "Debian root"


@click.group()
def images() -> None:
    """List, build and remove the guests' images and the saved guests."""


@images.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_images(*, as_json: bool) -> None:
    """Show what is in the cache."""
    rows = [
        {"kind": kind, "name": _name_of(kind, path), "size_bytes": path.stat().st_size}
        for kind, path in _cached()
    ]
    if as_json:
        click.echo(json.dumps({"schema": 1, "images": rows}, indent=1))
        return
    click.echo(f"{'KIND':<12} {'SIZE':>8}  NAME")
    for row in rows:
        click.echo(f"{row['kind']:<12} {_mib(row['size_bytes']):>8}  {row['name']}")


@images.command("build")
@click.option("--kernel", "name", default=kernels.DEFAULT, show_default=True)
def build_image(*, name: str) -> None:
    """Build the tiny guest for a kernel, everything that it needs fetched."""
    kernel = store.resolve(name, say=click.echo)
    guest = tiny_guest.build(kernel, userland(say=click.echo))
    click.echo(f"{guest.path} ({_mib(guest.path.stat().st_size)}, sha256 {guest.identity})")


@images.command("build-kernel")
@click.option(
    "--kernel", "name", default="6.12", show_default=True, metavar="NAME",
    help="A catalogue name of `mdjournal kernels list`: the newest source of that kernel.",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(1), default=lambda: os.cpu_count() or 1,
    show_default="one per processor", help="How many compilers run at once.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="Build even if the same is there already.")
def build_kernel(*, name: str, jobs: int, again: bool) -> None:
    """Build a debug kernel of Debian's source: KASAN, lockdep, fault injection.

    It is used as any other, by the name NAME-debug. Takes 5 GiB while it is built, and half an
    hour on two processors; docs/debug-kernel.md says more.
    """
    with progress("images build-kernel") as say:
        kernel = building.build(name, jobs=jobs, again=again, say=say, watch=seldom(say))
    click.echo(f"{kernel.name}: {kernel.version} ({kernel.release}), identity {kernel.identity}")


@images.command("remove")
def remove_images() -> None:
    """Remove built images and saved guests; they are made anew when they are needed."""
    for kind, path in _cached():
        if kind == _ROOT:
            continue
        path.unlink(missing_ok=True)
        click.echo(f"removed {path.name}")
    for name in debian_root.remove_all():
        click.echo(f"removed {name}")


def _cached() -> list[tuple[str, Path]]:
    places = (
        ("tiny guest", "guests", "tiny-*.cpio"), ("full guest", "guests", "full-*.cpio"),
        ("saved guest", "saved-guests", "*.state"), (_ROOT, "roots", "*/*.ext2"),
    )  # fmt: skip
    return [
        (kind, path)
        for kind, folder, pattern in places
        for path in sorted((cache_root() / folder).glob(pattern))
    ]


def _name_of(kind: str, path: Path) -> str:
    return path.parent.name if kind == _ROOT else path.name


def _mib(size_bytes: object) -> str:
    return f"{int(str(size_bytes)) / 2**20:.0f} MiB"
