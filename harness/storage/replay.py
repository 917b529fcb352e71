"""Carry a recovery plan out on copies of the images (DESIGN.md section 4, ``replay``)."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadInput
from harness.recovery.era import Era
from harness.recovery.image_writes import ImageWrite, OutsideWrite, RecoveryWrites
from harness.recovery.log import Log
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.recovery.plan import RecoveryPlan
from harness.storage.array_files import ArrayFiles, opened_log, refusing_undefined
from harness.storage.images import copy_sparse, naming_full_disk, opened_image, reading
from harness.storage.in_use import require_not_running

_CANNOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did."""

    plan: RecoveryPlan
    era: Era
    pages_written: int
    outside: tuple[OutsideWrite, ...]  # pages that were left out, the first of them
    pages_outside: int
    drawn: int  # the sequence number, where the kernel draws one


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
        BadInput: a file is in the way, two images have one name, *out* cannot be written, a
            running array uses an image.
        BadImage: the kernel could not start this array.
    """
    for path in files.paths.values():
        require_not_running(path)
    with _naming_output(out):
        targets = _targets(files, out, force=force)
    with _folder_to_fill(out) as folder:
        copies = {label: folder / target.name for label, target in targets.items()}
        for label, copy in copies.items():
            copy_sparse(files.paths[label], copy, files.watch)
        with opened_log(files, era) as log, refusing_undefined(files, era):
            done = _carry_out(files, log, copies, seed, stripe_cache_size)
        for label, target in targets.items():
            copies[label].replace(target)
    return done


def _carry_out(
    files: ArrayFiles, log: Log, copies: Mapping[str, Path], seed: int, stripe_cache_size: int
) -> Replayed:
    with contextlib.ExitStack() as stack, naming_full_disk(next(iter(copies.values()))):
        descriptors = {
            label: stack.enter_context(opened_image(path, writable=True))
            for label, path in copies.items()
        }
        writes = RecoveryWrites(
            files.array,
            log,
            reading(descriptors),
            seed=seed,
            stripe_cache_size=stripe_cache_size,
        )
        for write in writes:
            if isinstance(write, ImageWrite):
                os.pwrite(descriptors[write.label], write.data, write.offset)
    return replayed(writes, log.era)


def replayed(writes: RecoveryWrites, era: Era) -> Replayed:
    """Return what *writes*, all taken by now, came to."""
    assert writes.plan is not None
    return Replayed(
        writes.plan, era, writes.pages, tuple(writes.outside), writes.pages_outside, writes.drawn
    )


def rehearse(
    files: ArrayFiles,
    *,
    era: Era,
    seed: int = 0,
    stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE,
) -> Replayed:
    """Go through a replay without writing: what it would come to, and whether it would be refused.

    Raises:
        BadImage: as of `replay_to`.
    """
    with contextlib.ExitStack() as stack:
        descriptors = {
            label: stack.enter_context(opened_image(path)) for label, path in files.paths.items()
        }
        log = stack.enter_context(opened_log(files, era))
        stack.enter_context(refusing_undefined(files, era))
        writes = RecoveryWrites(
            files.array, log, reading(descriptors), seed=seed, stripe_cache_size=stripe_cache_size
        )
        for _ in writes:
            pass
    return replayed(writes, era)


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
