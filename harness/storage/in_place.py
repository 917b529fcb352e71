"""Carry a recovery out on the images themselves, with an undo file first."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from harness.recovery.era import Era
from harness.recovery.image_writes import Barrier, ImageWrite, RecoveryWrites
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.storage.array_files import ArrayFiles, opened_log, refusing_undefined
from harness.storage.images import naming_full_disk, opened_image, reading
from harness.storage.in_use import require_not_in_use
from harness.storage.replay import Replayed, replayed
from harness.storage.undo_file import SavedFile, UndoWriter


def replay_in_place(
    files: ArrayFiles,
    undo: Path,
    *,
    era: Era,
    seed: int = 0,
    stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE,
) -> Replayed:
    """Change the images into what recovery would leave.

    First everything that will be overwritten is saved in *undo* and synced; then the members are
    written and synced, then the log, then the journal's superblock. A replay that was killed is to
    be undone before it is repeated: read-modify-write trusts that parity and data are of one age.

    Raises:
        BadInput: an image is in use, or the undo file cannot be written; nothing is changed then.
        BadImage: as of ``replay_to``.
    """
    for path in files.paths.values():
        require_not_in_use(path)
    labels = list(files.paths)
    with contextlib.ExitStack() as stack:
        descriptors = {
            label: stack.enter_context(opened_image(path, writable=True))
            for label, path in files.paths.items()
        }
        log = stack.enter_context(opened_log(files, era))
        stack.enter_context(refusing_undefined(files, era))
        writer = UndoWriter(
            undo, [SavedFile(files.paths[n], os.fstat(descriptors[n]).st_size) for n in labels]
        )
        try:
            for write in RecoveryWrites(
                files.array,
                log,
                reading(descriptors),
                seed=seed,
                stripe_cache_size=stripe_cache_size,
            ):
                if isinstance(write, ImageWrite):
                    old = os.pread(descriptors[write.label], len(write.data), write.offset)
                    writer.save(labels.index(write.label), write.offset, old)
            writer.commit()
        except BaseException:
            writer.discard()
            raise
        writes = RecoveryWrites(
            files.array,
            log,
            reading(descriptors),
            seed=seed,
            stripe_cache_size=stripe_cache_size,
        )
        with naming_full_disk(undo):
            for write in writes:
                if isinstance(write, Barrier):
                    for descriptor in descriptors.values():
                        os.fsync(descriptor)
                else:
                    os.pwrite(descriptors[write.label], write.data, write.offset)
    return replayed(writes, era)
