"""A folder of cache entries: each written once and whole, some with a name that points at them.

<entry>/origin.json   what it was made of, and what it must still be
names/<name>.json     the entry that a name stands for, and since when
lock                  held by the run that is filling the shelf
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from kvm_images.archive import Package, exclusive, writing

Say = Callable[[str], None]

SCHEMA = 1
ORIGIN = "origin.json"


class CorruptEntry(Exception):
    """A cache entry is not what was put there; ``str()`` says what is wrong with it."""


class Shelf:
    """A folder of cache entries, each written once and whole, with names that point at them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self) -> list[Path]:
        """The entries there, sorted; intact or not."""
        if not self.root.is_dir():
            return []
        return sorted(
            path
            for path in self.root.iterdir()
            if path.is_dir() and path.name != "names" and not path.name.startswith(".")
        )

    def target(self, name: str) -> tuple[Path, float] | None:
        """The entry that ``name`` points at, and when that was last found to be so (seconds)."""
        try:
            pointer = json.loads((self.root / "names" / f"{name}.json").read_text())
            return self.root / Path(pointer["entry"]).name, float(pointer["checked_at_s"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a damaged pointer costs a look-up and no more

    def point(self, name: str, entry: Path, *, now_s: float) -> None:
        """Let ``name`` stand for ``entry`` from now on."""
        path = self.root / "names" / f"{name}.json"
        with writing(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_suffix(".new")
            new.write_text(
                json.dumps({"schema": SCHEMA, "entry": entry.name, "checked_at_s": now_s})
            )
            new.replace(path)

    def names_of(self, entry: Path) -> list[str]:
        """The names that point at ``entry``, sorted."""
        names = sorted(path.stem for path in (self.root / "names").glob("*.json"))
        return [name for name in names if (at := self.target(name)) and at[0].name == entry.name]

    @contextlib.contextmanager
    def filling(self, *, say: Say) -> Iterator[None]:
        """Hold the shelf against other runs; what a killed run left half-written is removed."""
        with exclusive(self.root / "lock", say=say):
            for left in self.root.glob(".new-*"):
                shutil.rmtree(left, ignore_errors=True)
            yield

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the shelf's file system for what is being made; gone afterwards."""
        # A killed child may still be writing into it: then the next run removes the rest.
        made = tempfile.TemporaryDirectory(
            prefix=".new-", dir=self.root, ignore_cleanup_errors=True
        )
        with writing(self.root), made as folder:
            yield Path(folder)

    def put(self, made: Path, origin: dict[str, Any], name: str) -> Path:
        """Make the folder ``made`` the entry ``name``, in place of a damaged one."""
        (made / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n")
        made.chmod(0o755)
        entry = self.root / name
        if entry.exists():
            entry.rename(made.parent / "damaged")
        return made.rename(entry)

    def remove(self, entry: Path) -> None:
        """Remove an entry and the names that point at it."""
        with writing(self.root):
            for name in self.names_of(entry):
                (self.root / "names" / f"{name}.json").unlink(missing_ok=True)
            with self.scratch() as grave:
                entry.rename(grave / entry.name)


def read_origin(entry: Path) -> dict[str, Any]:
    """What is known of an entry's making. Raises ``CorruptEntry``."""
    try:
        origin = json.loads((entry / ORIGIN).read_text())
    except (OSError, ValueError) as error:
        raise CorruptEntry(f"{ORIGIN} cannot be read") from error
    if not isinstance(origin, dict) or origin.get("schema") != SCHEMA:
        raise CorruptEntry(f"{ORIGIN} is of another format")
    return origin


def disk_bytes(folder: Path) -> int:
    """What the files below ``folder`` occupy on disk."""
    return sum(
        os.lstat(os.path.join(at, file)).st_blocks * 512  # noqa: PTH118  # thousands of files
        for at, _, files in os.walk(folder)
        for file in files
    )


def packages_identity(packages: Iterable[Package]) -> str:
    """sha256 (hex) over the packages' own hashes, whatever their order."""
    lines = sorted(f"{package.name} {package.sha256}\n" for package in packages)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
