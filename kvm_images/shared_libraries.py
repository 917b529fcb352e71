"""Which shared libraries a program needs, read from the files alone (nothing is run)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from harness.errors import Unavailable
from kvm_images.modules import elf_sections

_DT_NEEDED = 1
_DYNAMIC = struct.Struct("<qQ")  # Elf64_Dyn: tag, value
FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64")
LOADER = "ld-linux-x86-64.so.2"


def needed(data: bytes) -> list[str]:
    """Return the DT_NEEDED names of an ELF file, in its order; none for a static program."""
    sections = elf_sections(data)
    strings = sections.get(".dynstr", b"")
    return [
        strings[value : strings.index(b"\0", value)].decode()
        for tag, value in _DYNAMIC.iter_unpack(sections.get(".dynamic", b""))
        if tag == _DT_NEEDED
    ]


def closure(root: Path, programs: Iterable[Path]) -> dict[str, Path]:
    """Return every library that *programs* need, by name, found below the folder *root*.

    Raises:
        Unavailable: a library that no unpacked package has.
    """
    found: dict[str, Path] = {LOADER: _find(root, LOADER)}
    queue = list(programs)
    while queue:
        program = queue.pop()
        try:
            names = needed(program.read_bytes())
        except ValueError as error:
            raise Unavailable(
                f"guest image: {program} is damaged in the cache: {error};"
                f" remove {root.parent} and run again"
            ) from error
        for name in names:
            if name not in found:
                found[name] = _find(root, name)
                queue.append(found[name])
    return found


def _find(root: Path, name: str) -> Path:
    for folder in FOLDERS:
        path = root / folder / name
        # A link to an absolute path would lead to this machine's own library.
        if path.exists() and path.resolve().is_relative_to(root.resolve()):
            return path
    raise Unavailable(f"guest image: no unpacked package has {name}; run `mdjournal images build`")
