"""Make a corpus case of a kept result: `capture.py RESULT CASE`, run from the top of the checkout.

A case is a folder with ``images.tar.xz`` (before/ and after/, from a real kernel) and
``origin.toml``. Nothing that this project computed is in it.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

CORPUS = Path(__file__).resolve().parent


def capture(result: Path, name: str) -> Path:
    """Copy what the kernel found and what it left into a new case; return its folder."""
    verdict = json.loads((result / "verdict.json").read_text())
    case = CORPUS / name
    case.mkdir()
    with tarfile.open(case / "images.tar.xz", "w:xz", preset=9) as tar:
        for folder in ("before", "after"):
            for image in sorted((result / folder).glob("*.img")):
                tar.add(image, f"{folder}/{image.name}", filter=_anonymous)
    kernel_line = next(
        (
            line.split("md0: ", 1)[1]
            for line in (result / "dmesg-recovery.txt").read_text().splitlines()
            if "data-only stripes" in line or "clean shutdown" in line
        ),
        "",
    )
    origin = {
        "kernel": f"{verdict['kernel']['release']} ({verdict['kernel']['version']})",
        "era": verdict["era"],
        "shape": verdict["shape"],
        "command": verdict["repeat"],
        "date": result.name[:8],
        "kernel_said": kernel_line,
    }
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in origin.items())
    (case / "origin.toml").write_text(text)
    return case


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    return entry


if __name__ == "__main__":
    print(capture(Path(sys.argv[1]), sys.argv[2]))
