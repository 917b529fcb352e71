"""Kernel modules as files: what a module says of itself, and what must be loaded before it.

On Python alone, since depmod never runs over an unpacked kernel and the machine may lack kmod.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import BadInput

_MODULE_FILE = re.compile(r"(.+)\.ko(?:\.(?:xz|zst|gz))?")

# Elf64_Ehdr up to e_shstrndx: ident, type, machine, version, entry, phoff, shoff, flags, ehsize,
# phentsize, phnum, shentsize, shnum, shstrndx
_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
# Elf64_Shdr: name, type, flags, addr, offset, size, link, info, addralign, entsize
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_NO_BITS = 8  # SHT_NOBITS: a section without bytes in the file
_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"

Loader = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """The parts of a module's ``.modinfo`` that loading depends on. Names have underscores."""

    name: str
    vermagic: str  # first word: the release it was built for
    depends: tuple[str, ...]  # must be loaded before
    softdeps_before: tuple[str, ...]  # ``softdep pre:`` names or aliases, loaded before if there
    aliases: tuple[str, ...]

    @property
    def release(self) -> str:
        """The ``uname -r`` of the kernel that the module was built for."""
        return self.vermagic.partition(" ")[0]


def module_name(text: str) -> str:
    """The one spelling of a module's name: dashes and underscores mean the same."""
    return text.replace("-", "_")


def elf_sections(data: bytes) -> dict[str, bytes]:
    """The sections of a 64-bit little-endian ELF file by name; the first of equal names.

    Raises ``ValueError`` for anything else, truncated files included.
    """
    if not data.startswith(_ELF64_LITTLE_ENDIAN):
        raise ValueError("no 64-bit little-endian ELF file")
    try:
        header = _ELF_HEADER.unpack_from(data)
        table_offset, count, names_index = header[6], header[12], header[13]
        headers = [
            _SECTION_HEADER.unpack_from(data, table_offset + index * _SECTION_HEADER.size)
            for index in range(count)
        ]
        names = _section_bytes(data, headers[names_index])
    except (struct.error, IndexError) as error:
        raise ValueError("truncated ELF file") from error
    sections: dict[str, bytes] = {}
    for each in headers:
        name = names[each[0] : names.find(b"\0", each[0])].decode("ascii", "replace")
        sections.setdefault(name, _section_bytes(data, each))
    return sections


def read_module(path: Path) -> bytes:
    """The module's ELF bytes, decompressed where the file is ``.xz``, ``.zst`` or ``.gz``.

    Raises ``BadInput`` when it cannot be read or decompressed.
    """
    try:
        data = path.read_bytes()
        match path.suffix:
            case ".xz":
                return lzma.decompress(data)
            case ".zst":
                return _decompress_zstd(data)
            case ".gz":
                return gzip.decompress(data)
        return data
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    except (lzma.LZMAError, zlib.error, EOFError, ValueError) as error:
        raise _bad(path, f"damaged: {error}") from error


def parse_modinfo(data: bytes) -> ModuleInfo:
    """What the ELF bytes of a module say. Raises ``ValueError`` when they are no module."""
    try:
        section = elf_sections(data)[".modinfo"]
    except KeyError:
        raise ValueError("an ELF file without .modinfo") from None
    values: dict[str, list[str]] = {}
    for field in section.split(b"\0"):
        key, equals, value = field.decode("utf-8", "replace").partition("=")
        if equals:
            values.setdefault(key, []).append(value)
    if "vermagic" not in values or "name" not in values:
        raise ValueError("its .modinfo has no name or no vermagic")
    depends = (name for each in values.get("depends", []) for name in each.split(",") if name)
    before = (name for each in values.get("softdep", []) for name in _softdeps_before(each))
    return ModuleInfo(
        name=module_name(values["name"][0]),
        vermagic=values["vermagic"][0].strip(),
        depends=tuple(module_name(name) for name in depends),
        softdeps_before=tuple(module_name(name) for name in before),
        aliases=tuple(module_name(alias) for alias in values.get("alias", [])),
    )


def read_modinfo(path: Path) -> ModuleInfo:
    """``parse_modinfo`` of a file. Raises ``BadInput`` naming the file and what is wrong."""
    try:
        return parse_modinfo(read_module(path))
    except ValueError as error:
        raise _bad(path, str(error)) from error


class ModuleTree:
    """The modules below one ``lib/modules/RELEASE`` folder, by name, some perhaps replaced."""

    def __init__(self, directory: Path, *, replaced: Iterable[Path] = ()) -> None:
        """Index ``directory``; each file of ``replaced`` stands in for its namesake.

        Raises ``BadInput`` when the folder holds no module.
        """
        self.directory = directory
        self._paths = _module_files(directory)
        if not self._paths:
            raise BadInput(
                f"{directory}: no kernel module below it\n"
                "next: give the lib/modules/RELEASE folder that `make modules_install` wrote"
            )
        self._info: dict[str, ModuleInfo] = {}
        for path in replaced:
            info = read_modinfo(path)
            self._paths[info.name] = path
            self._info[info.name] = info

    def __contains__(self, name: str) -> bool:
        return module_name(name) in self._paths

    def names(self) -> list[str]:
        """Every module that is a file, sorted."""
        return sorted(self._paths)

    def path(self, name: str) -> Path:
        """The file of module ``name``. Raises ``KeyError`` when it is none."""
        return self._paths[module_name(name)]

    def info(self, name: str) -> ModuleInfo:
        """What module ``name`` says of itself; read once. Raises ``KeyError``, ``BadInput``."""
        key = module_name(name)
        if key not in self._info:
            self._info[key] = read_modinfo(self._paths[key])
        return self._info[key]

    def built_in(self) -> frozenset[str]:
        """The modules that the kernel's build says are part of the image; empty if it says none."""
        try:
            listed = (self.directory / "modules.builtin").read_text().split()
        except OSError:
            return frozenset()
        return frozenset(_name_of(Path(line).name) for line in listed)

    def closure(self, names: Iterable[str]) -> list[tuple[str, Loader]]:
        """``names`` and all that they need, in load order, each with what reads its ELF bytes.

        Names that are no file are left out here and reported by ``absent``. The order depends on
        the given order and on nothing else.
        """
        order, _ = self._walk(names)
        return [(name, partial(read_module, self._paths[name])) for name in order]

    def absent(self, names: Iterable[str]) -> list[str]:
        """What ``closure`` of the same names leaves out, built in or not there at all.

        A softdep that is not there counts as nothing: it is a wish.
        """
        return self._walk(names)[1]

    def _walk(self, names: Iterable[str]) -> tuple[list[str], list[str]]:
        order: list[str] = []
        absent: list[str] = []
        seen: set[str] = set()

        def visit(name: str) -> None:
            if name in seen:
                return
            seen.add(name)
            if name not in self._paths:
                absent.append(name)
                return
            info = self.info(name)
            for softdep in info.softdeps_before:
                for each in self._provide(softdep):
                    visit(each)
            for each in info.depends:
                visit(each)
            order.append(name)

        for name in names:
            visit(module_name(name))
        return order, absent

    def _provide(self, softdep: str) -> list[str]:
        """The modules that a softdep's name or alias stands for."""
        if softdep in self._paths:
            return [softdep]
        # Aliases are found among likely files only: reading every module of a tree that is
        # compressed takes seconds. An implementation is named after its algorithm: crc32c_intel.
        likely = [name for name in self.names() if name.startswith(softdep)]
        return [name for name in likely if softdep in self.info(name).aliases]


def _section_bytes(data: bytes, header: tuple[int, ...]) -> bytes:
    kind, offset, size = header[1], header[4], header[5]
    if kind == _NO_BITS:
        return b""
    if offset + size > len(data):
        raise ValueError("truncated ELF file")
    return data[offset : offset + size]


def _softdeps_before(text: str) -> list[str]:
    """The names after ``pre:`` of one softdep, as in ``pre: a b post: c``."""
    names: list[str] = []
    before = False
    for word in text.split():
        if word.endswith(":"):
            before = word == "pre:"
        elif before:
            names.append(word)
    return names


def _decompress_zstd(data: bytes) -> bytes:
    import zstandard  # most kernels never need it

    try:
        # A frame may lack its content size, which decompress() insists on.
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _module_files(directory: Path) -> dict[str, Path]:
    """Module files by name. The folders ``build`` and ``source`` are links into a kernel tree."""
    found: dict[str, Path] = {}
    for folder, below, files in os.walk(directory):
        below.sort()
        for file in sorted(files):
            if name := _name_of(file):
                found.setdefault(name, Path(folder, file))
    return found


def _name_of(file: str) -> str:
    match = _MODULE_FILE.fullmatch(file)
    return module_name(match[1]) if match else ""


def _bad(path: Path, why: str) -> BadInput:
    return BadInput(
        f"{path}: no usable kernel module: {why}\nnext: give a .ko, .ko.xz or .ko.zst file"
    )
