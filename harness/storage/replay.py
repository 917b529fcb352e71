"""Carry a recovery plan out on copies of the images (DESIGN.md section 4, ``replay``)."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadImage, BadInput
from harness.ondisk.log import build_meta_block
from harness.ondisk.superblock import SUPERBLOCK_BYTES, with_journal_tail, written_bytes
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES, LogSector, StripeSector
from harness.recovery.era import Era
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.recovery.plan import (
    RecoveryPlan,
    plan_recovery,
    rewritten_block,
)
from harness.recovery.scan import Log
from harness.recovery.write_out import write_out
from harness.storage.array_files import ArrayFiles, opened_log, refusing_undefined
from harness.storage.images import copy_sparse, naming_full_disk, opened_image

_CANNOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}


@dataclass(frozen=True, slots=True)
class OutsideWrite:
    """A page that the log sends past the end of the members, and that is left out here."""

    device: int
    sector: StripeSector


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did."""

    plan: RecoveryPlan
    era: Era
    pages_written: int
    outside: tuple[OutsideWrite, ...]


def plan_of(
    files: ArrayFiles, era: Era, *, stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE
) -> RecoveryPlan:
    """Plan the recovery of an array in image files.

    Raises:
        BadImage: the kernel could not start it, or would leave its buffers over this log.
    """
    with opened_log(files, era) as log, refusing_undefined(files, era):
        return plan_recovery(log, files.array.geometry, stripe_cache_size=stripe_cache_size)


def replay_to(
    files: ArrayFiles,
    out: Path,
    *,
    era: Era,
    seed: int = 0,
    force: bool = False,
    stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE,
) -> Replayed:
    """Write into folder *out*, under the same names, the images that recovery would leave.

    Args:
        files: the images; they are only read.
        out: made if it is not there.
        era: which recovery code to follow.
        seed: the sequence number is drawn from it where the kernel draws one.
        force: overwrite files of the same name in *out*.
        stripe_cache_size: of the array, in stripes.

    Raises:
        BadInput: a file is in the way, two images have one name, *out* cannot be written.
        BadImage: the kernel could not start this array.
    """
    with _naming_output(out):
        targets = _targets(files, out, force=force)
    with _folder_to_fill(out) as folder:
        copies = {label: folder / target.name for label, target in targets.items()}
        for label, copy in copies.items():
            copy_sparse(files.paths[label], copy)
        with opened_log(files, era) as log, refusing_undefined(files, era):
            plan = plan_recovery(log, files.array.geometry, stripe_cache_size=stripe_cache_size)
            replayed = _Writer(files, log, copies).carry_out(plan, seed)
        for label, target in targets.items():
            copies[label].replace(target)
    return replayed


class _Writer:
    def __init__(self, files: ArrayFiles, log: Log, copies: Mapping[str, Path]) -> None:
        self._files = files
        self._log = log
        self._copies = copies
        self._descriptors: dict[str, int] = {}
        self._pages = 0
        self._outside: list[OutsideWrite] = []

    def carry_out(self, plan: RecoveryPlan, seed: int) -> Replayed:
        with contextlib.ExitStack() as stack, naming_full_disk(next(iter(self._copies.values()))):
            for label, path in self._copies.items():
                self._descriptors[label] = stack.enter_context(opened_image(path, writable=True))
            for replay in plan.replays:
                for device, source in replay.pages:
                    self._write(device, replay.stripe, self._logged(source))
            for stripe in plan.data_only if plan.written_out else ():
                self._write_out(stripe.stripe, dict(stripe.pages))
            self._end_log(plan, seed)
        return Replayed(plan, self._log.era, self._pages, tuple(self._outside))

    def _logged(self, position: LogSector) -> bytes:
        page = self._log.read_block(position)
        if page is None:
            raise BadImage(f"{self._files.journal_label}: changed while it was read")
        return page

    def _write(self, device: int, sector: StripeSector, page: bytes) -> None:
        if sector + BLOCK_SECTORS > self._files.array.geometry.member_sectors:
            self._outside.append(OutsideWrite(device, sector))
            return
        for label in self._files.array.members.get(device, ()):
            os.pwrite(self._descriptors[label], page, self._offset(label, sector))
            self._pages += 1

    def _write_out(self, sector: StripeSector, sources: Mapping[int, LogSector]) -> None:
        geometry = self._files.array.geometry
        new = {device: self._logged(source) for device, source in sources.items()}
        if sector + BLOCK_SECTORS > geometry.member_sectors:
            self._outside.extend(OutsideWrite(device, sector) for device in new)
            return

        def read_old(device: int) -> bytes:
            label = self._files.array.members[device][0]
            return os.pread(self._descriptors[label], BLOCK_BYTES, self._offset(label, sector))

        pages = write_out(
            geometry, geometry.row_at(sector), new, read_old,
            unreadable=self._files.array.unreadable_at(sector),
            synced=sector < self._files.array.resync_offset,
        )  # fmt: skip
        for device, page in pages.items():
            self._write(device, sector, page)

    def _rewrite(self, plan: RecoveryPlan) -> None:
        """Log data-only stripes anew: all is read before any of it can be written over."""
        blocks = []
        for meta in plan.rewritten:
            blocks += [(to, self._logged(source)) for _, source, to in meta.pages]
            blocks.append((meta.position, rewritten_block(meta, self._log)))
        for position, block in blocks:
            self._write_log(position, block)

    def _write_log(self, position: LogSector, block: bytes) -> None:
        label = self._files.journal_label
        os.pwrite(self._descriptors[label], block, self._offset(label, position))

    def _end_log(self, plan: RecoveryPlan, seed: int) -> None:
        label = self._files.journal_label
        drawn = random.Random(seed).getrandbits(32)
        for meta in plan.empty_metas:
            seq = drawn + meta.from_drawn if meta.seq is None else meta.seq
            self._write_log(
                meta.position,
                build_meta_block(seed=self._log.seed, seq=seq, position=meta.position),
            )
        if plan.rewritten and plan.written_out:
            # The kernel logs its own writing-out from here on; that part is not reproduced.
            first = plan.rewritten[0]
            self._write_log(
                first.position,
                build_meta_block(seed=self._log.seed, seq=first.seq, position=first.position),
            )
        elif plan.rewritten:
            self._rewrite(plan)
        superblock = with_journal_tail(self._files.journal, plan.journal_tail)
        used = min(written_bytes(self._files.journal), SUPERBLOCK_BYTES)
        at = self._files.journal.at * SECTOR_BYTES
        os.pwrite(self._descriptors[label], superblock[:used], at)

    def _offset(self, label: str, sector: int) -> int:
        return (self._files.array.superblocks[label].data_offset + sector) * SECTOR_BYTES


def _targets(files: ArrayFiles, out: Path, *, force: bool) -> dict[str, Path]:
    targets: dict[str, Path] = {}
    for label, path in files.paths.items():
        target = out / path.name
        if target.is_dir():
            raise BadInput(f"{target}: is a folder; name another place for the image")
        if target in targets.values():
            raise BadInput(f"{path}: another image has the same file name; rename one of them")
        if target.exists() and target.samefile(path):
            raise BadInput(f"{out}: {path.name} there is the image itself; name another folder")
        if (target.exists() or target.is_symlink()) and not force:
            raise BadInput(f"{target}: is there already; say --force, or name another folder")
        targets[label] = target
    return targets


@contextlib.contextmanager
def _naming_output(out: Path) -> Iterator[None]:
    """Turn what the system has against an output folder into one clear error."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise BadInput(f"{out}: is no folder; name another") from error
    except OSError as error:
        if error.errno in _CANNOT_WRITE:
            raise BadInput(f"{out}: cannot be written: {error.strerror}; name another") from error
        raise


@contextlib.contextmanager
def _folder_to_fill(out: Path) -> Iterator[Path]:
    """Give a temporary folder inside *out*; what was made here goes if that fails."""
    with _naming_output(out):
        made = [folder for folder in (out, *out.parents) if not folder.exists()]
        out.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=out, prefix=".mdjournal-") as name:
                yield Path(name)
        except BaseException:
            for folder in made:  # the innermost first
                if any(folder.iterdir()):
                    break
                folder.rmdir()
            raise
