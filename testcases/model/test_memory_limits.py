"""Memory is bounded by a constant, whatever the journal's size: shown with little of it to have."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from testcases.big_journals import BigJournal, write_big_array

REPO = Path(__file__).resolve().parents[2]
JOURNAL_BYTES = 4 << 30
ADDRESS_SPACE_BYTES = 300 << 20  # Python, NumPy and all libraries included

# All but full; its pages are holes, and a thousandth of it are meta blocks.
FULL = BigJournal(
    metas=25_500, stripes_per_meta=8, chunk_sectors=128, member_stripes=4096, sparse=True,
    journal_bytes=JOURNAL_BYTES,
)  # fmt: skip


def run_limited(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with *arguments* and not more than so much address space."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))

    return subprocess.run(
        [sys.executable, *arguments], cwd=REPO, capture_output=True, text=True, check=False,
        preexec_fn=limit,
    )  # fmt: skip


@pytest.mark.timeout(900)
def test_replay_of_a_full_4_gib_journal_needs_less_than_300_mib(tmp_path: Path) -> None:
    assert JOURNAL_BYTES * 0.97 < FULL.log_bytes < JOURNAL_BYTES
    images = write_big_array(tmp_path, FULL)
    out = tmp_path / "out"
    done = run_limited("-m", "tools.cli", "replay", "--json", "--out", str(out), *map(str, images))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pages_written"] == FULL.pages
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in images)
    journal = (out / "journal.img").stat()
    assert journal.st_size == images[-1].stat().st_size
    assert journal.st_blocks * 512 < 200 << 20, "holes stay holes"


def test_the_limit_is_one() -> None:
    assert "MemoryError" in run_limited("-c", f"bytearray({ADDRESS_SPACE_BYTES})").stderr
