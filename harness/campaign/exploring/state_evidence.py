"""Keep the images of one recovered crash state, as a run of `crash` keeps its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.campaign.evidence import verdict_document
from harness.campaign.exploring.guest_pool import Judged
from harness.campaign.exploring.state_judging import contents_after
from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.storage.images import create_image, naming_full_disk, opened_image


def keep_state(folder: Path, judged: Judged, sizes_bytes: Mapping[str, int]) -> None:
    """Write before/, predicted/, after/, the kernel's log and the verdict into a new *folder*.

    What the kernel left is as of when its recovery had come to rest.
    """
    kinds: dict[str, Mapping[str, DiskContent]] = {"before": judged.job.state.contents}
    if (predicted := judged.job.predicted) is not None:
        kinds["predicted"] = predicted.after
        writes = judged.done.writes
        kinds["after"] = contents_after(predicted.before, writes, list(sizes_bytes))
    keep_contents(folder, kinds, sizes_bytes)
    lines = "".join(f"{line}\n" for line in judged.done.recovered.kernel_log)
    (folder / "dmesg-recovery.txt").write_text(lines)
    document = {"schema": 1, "state": judged.job.number, **verdict_document(judged.verdict)}
    (folder / "verdict.json").write_text(json.dumps(document, indent=2) + "\n")


def keep_contents(
    folder: Path,
    kinds: Mapping[str, Mapping[str, DiskContent]],
    sizes_bytes: Mapping[str, int],
) -> None:
    """Write images into a new *folder*, one below it for each of *kinds*."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for kind, contents in kinds.items():
        (folder / kind).mkdir()
        for name, content in contents.items():
            write_content(folder / kind / f"{name}.img", content, sizes_bytes[name])


def write_content(path: Path, content: DiskContent, size_bytes: int) -> None:
    """Write a disk's content as a sparse image."""
    create_image(path, size_bytes)
    with opened_image(path, writable=True) as descriptor, naming_full_disk(path):
        for block, data in sorted(content.blocks.items()):
            if any(data):
                os.pwrite(descriptor, data, block * BLOCK_BYTES)
