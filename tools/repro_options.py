"""What the commands about bundles share: their argument, and where they write."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from harness.errors import BadInput
from harness.storage.bundle_file import SUFFIX

bundle_argument = click.argument("path", metavar="BUNDLE", type=click.Path(path_type=Path))
out_option = click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="What to write."
)
force_option = click.option("--force", is_flag=True, help="Overwrite what is there.")


def target_of(path: Path, *, force: bool) -> Path:
    """Return where a bundle is to be written, checked before anything long begins.

    Raises:
        BadInput: something is there already, or its folder is not or takes no file.
    """
    folder = path.absolute().parent
    if path.exists() and not path.is_file():
        raise BadInput(f"{path}: is no file; take another --out")
    if path.exists() and not force:
        raise BadInput(f"{path}: is there already; take --force, or another --out")
    if not folder.is_dir():
        raise BadInput(f"{path}: its folder is not there; make it first")
    require_writable(folder)
    return path


def require_writable(folder: Path) -> None:
    """Require a folder that takes files, made if need be.

    Raises:
        BadInput: it does not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written to: {error.strerror}") from error


def derived(path: Path, word: str) -> Path:
    """Return the name of a bundle that is made of another one, in the folder where we are."""
    return Path(f"{path.name.removesuffix(SUFFIX)}-{word}{SUFFIX}")


def kib_of(path: Path) -> int:
    """Return a file's size, rounded up."""
    return -(-path.stat().st_size // 1024)
