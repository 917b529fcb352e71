"""Keep the images of one recovered crash state, as a run of `crash` keeps its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.campaign.evidence import verdict_document
from harness.campaign.exploring.guest_pool import Judged
from harness.campaign.exploring.state_judging import contents_after
from harness.crash.content import DiskContent
from harness.storage.images import write_content


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
