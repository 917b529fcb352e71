"""Shrunk reds that are kept: packed, and put before the oracles once more.

``python -m testcases.findings.reproducers FOLDER...`` packs what `explore --shrink all` left in
folders ``smallest-N`` into NAME.tar.xz beside this file, named for the known issue that each shows.
"""

from __future__ import annotations

import functools
import io
import json
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.campaign.exploring.recordings import TRACE
from harness.campaign.exploring.smallest import REPRODUCER, decode_state
from harness.campaign.recording import Recording, recording_of
from harness.crash.strategies import ChosenState
from harness.crash.trace import decode
from harness.crash.workload_json import decode_workload
from harness.md.shape import Shape, decode_shape

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Reproducer:
    """A recording, the state of it that is red, and for which known issue."""

    name: str
    shape: Shape
    recording: Recording
    chosen: ChosenState | None  # None: the trace alone is red
    document: Mapping[str, Any]


def names() -> list[str]:
    """Return the name of every reproducer that is kept."""
    return sorted(path.name.removesuffix(".repro.tar.xz") for path in HERE.glob("*.repro.tar.xz"))


@functools.cache
def read_reproducer(name: str) -> Reproducer:
    """Read one."""
    with tarfile.open(HERE / f"{name}.repro.tar.xz") as tar:
        files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        document_file, trace_file = files[REPRODUCER], files[TRACE]
        assert document_file is not None
        assert trace_file is not None
        document, trace = json.load(document_file), decode(trace_file.read())
    recording = recording_of(decode_workload(document["workload"]), trace)
    state = document["state"]
    chosen = None if state is None else decode_state(state, trace)
    return Reproducer(name, decode_shape(document["shape"]), recording, chosen, document)


def pack(folder: Path) -> Path:
    """Pack one folder; return what it became."""
    document = json.loads((folder / REPRODUCER).read_text())
    target = HERE / f"{document['finding']}.repro.tar.xz"
    with tarfile.open(target, "w:xz", preset=9) as tar:
        for name in (REPRODUCER, TRACE):
            data = (folder / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return target


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(pack(Path(argument)))
