"""What the model's side costs: scan, replay and check of journals of gigabytes, printed.

``tools/mdjournal test -- testcases/bench/bench_model.py -s`` needs 6 GiB of disk and no guest. Each
figure is the median of three runs, smallest and largest beside it; each run is a new process, which
has what it is compared with in it as well.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from harness.recovery.layout import Level
from testcases.big_journals import BigJournal, write_big_array

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RUNS = 3
GIB = 1 << 30

SCANS = {
    "RAID-5 of 5, batches of 8 whole stripes": BigJournal(metas=6393),
    "RAID-6 of 6, batches of 8 whole stripes": BigJournal(
        level=Level.RAID6, raid_disks=6, metas=5349
    ),
    "RAID-5 of 5, one page in each meta block": BigJournal(
        metas=87381, stripes_per_meta=1, pages_per_stripe=1
    ),
}
REPLAYS = {
    "RAID-5 of 5": BigJournal(metas=6554),
    "RAID-6 of 6, Q logged": BigJournal(level=Level.RAID6, raid_disks=6, metas=5461),
    "RAID-6 of 6, data-only, P and Q computed": BigJournal(
        level=Level.RAID6, raid_disks=6, metas=4096, stripes_per_meta=8, with_parity=False,
        member_stripes=32768,
    ),
}  # fmt: skip
CHECK = BigJournal(
    metas=160_000, stripes_per_meta=3, pages_per_stripe=4, sparse=True, journal_bytes=12 * GIB
)


@pytest.mark.parametrize("name", SCANS)
def test_scan_against_crc32c_over_the_same_bytes(name: str, tmp_path: Path) -> None:
    write_big_array(tmp_path, SCANS[name], members=False)
    runs = measure("scan", tmp_path)
    show(f"scan of {runs[0]['bytes'] / GIB:.2f} GiB, {name}", "MB/s", rates(runs, "scan_s"))
    show("  crc32c over the same bytes", "MB/s", rates(runs, "crc32c_s"))
    show("  crc32c block by block", "MB/s", rates(runs, "crc32c_by_block_s"))
    show("  scan to crc32c", "", [run["crc32c_s"] / run["scan_s"] for run in runs])
    show("  peak memory", "MiB", peaks(runs))


@pytest.mark.parametrize("name", REPLAYS)
def test_replay(name: str, tmp_path: Path) -> None:
    write_big_array(tmp_path, REPLAYS[name])
    runs = measure("replay", tmp_path)
    show(f"replay of {runs[0]['bytes'] / GIB:.2f} GiB, {name}", "MB/s", rates(runs, "replay_s"))
    show("  peak memory", "MiB", peaks(runs))


def test_check_of_a_huge_sparse_journal(tmp_path: Path) -> None:
    write_big_array(tmp_path, CHECK)
    runs = measure("check", tmp_path)
    words = f"{CHECK.metas} meta blocks, {CHECK.pages} pages"
    show(f"check of {runs[0]['bytes'] / GIB:.0f} GiB, {words}", "s", column(runs, "check_s"))
    show("  reading the same bytes", "s", column(runs, "read_s"))
    show("  peak memory", "MiB", peaks(runs))


def measure(name: str, folder: Path) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "testcases.bench.measured", name, str(folder)]
    runs = []
    for _ in range(RUNS):
        done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    return runs


def column(runs: list[dict[str, float]], key: str) -> list[float]:
    return [run[key] for run in runs]


def rates(runs: list[dict[str, float]], key: str) -> list[float]:
    """Return what is done in a second, in units of 10^6 bytes."""
    return [run["bytes"] / run[key] / 1e6 for run in runs]


def peaks(runs: list[dict[str, float]]) -> list[float]:
    return [run["peak_kib"] / 1024 for run in runs]


def show(name: str, unit: str, values: list[float]) -> None:
    middle, low, high = statistics.median(values), min(values), max(values)
    digits = 0 if middle >= 100 else 2
    print(f"\n{name}: {middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})", end="")
