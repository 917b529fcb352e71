"""One measurement in a process of its own, so that its peak memory is its own as well.

``python -m testcases.bench.measured NAME FOLDER`` prints one JSON object of figures.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import crc32c

from harness.ondisk.log import MetaBlock
from harness.ondisk.units import BLOCK_BYTES
from harness.recovery.era import NEWEST_ERA
from harness.recovery.scan import load_log, scan_log
from harness.storage.array_files import opened_log, read_array, read_journaled
from harness.storage.replay import replay_to
from harness.storage.ring_survey import read_journal

Figures = dict[str, float]

_PIECE_BYTES = 1 << 18


def scan(images: list[Path]) -> Figures:
    """Follow a log to its end; beside it, crc32c over the same bytes."""
    files = read_journaled(images)
    with opened_log(files, NEWEST_ERA) as log:
        tail = load_log(log)
        assert isinstance(tail, MetaBlock), "a good journal was written"
        blocks = sum(scanned.log_sectors // 8 for scanned in scan_log(log, tail))
    scanned_s = timed(lambda: _follow(images))
    start = files.journal.data_offset * 512
    length = blocks * BLOCK_BYTES
    whole_s = timed(lambda: _checksum(images[-1], start, length, _PIECE_BYTES))
    by_block_s = timed(lambda: _checksum(images[-1], start, length, BLOCK_BYTES))
    return {
        "bytes": length, "scan_s": scanned_s, "crc32c_s": whole_s,
        "crc32c_by_block_s": by_block_s,
    }  # fmt: skip


def replay(images: list[Path]) -> Figures:
    """Replay onto copies; the time has the copying of the journal in it."""
    files = read_array(images)
    with tempfile.TemporaryDirectory(dir=images[0].parent) as out:
        began = time.perf_counter()
        done = replay_to(files, Path(out), era=NEWEST_ERA)
        seconds = time.perf_counter() - began
    payload = done.pages_written * BLOCK_BYTES
    return {"bytes": payload, "replay_s": seconds}


def check(images: list[Path]) -> Figures:
    """Read a journal as `check` does, in every era and the rest of its ring."""
    files = read_array(images)
    seconds = timed(lambda: read_journal(files, NEWEST_ERA, stripe_cache_size=256))
    size = files.journal.data_size * 512
    return {"bytes": size, "check_s": seconds, "read_s": timed(lambda: _read(images[-1]))}


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that *act* takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _follow(images: list[Path]) -> None:
    with opened_log(read_journaled(images), NEWEST_ERA) as log:
        tail = load_log(log)
        assert isinstance(tail, MetaBlock), "a good journal was written"
        for _ in scan_log(log, tail):
            pass


def _checksum(path: Path, start: int, length: int, piece: int) -> None:
    """Read pieces of 256 KiB, as the scan does, and take the checksum of each *piece* in them."""
    buffer = memoryview(bytearray(_PIECE_BYTES))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while length > 0:
            got = file.readinto(buffer)
            assert got, "the image is as long as it was"
            for at in range(0, min(got, length), piece):
                crc32c.crc32c(buffer[at : at + piece])
            length -= got


def _read(path: Path) -> None:
    buffer = bytearray(_PIECE_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def main() -> None:
    """Measure what the command line names."""
    name, folder = sys.argv[1:]
    figures = {"scan": scan, "replay": replay, "check": check}[name](_images(Path(folder)))
    figures["peak_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(figures))


def _images(folder: Path) -> list[Path]:
    members = sorted(folder.glob("member*.img"), key=lambda path: int(path.stem[6:]))
    return [*members, folder / "journal.img"]


if __name__ == "__main__":
    main()
