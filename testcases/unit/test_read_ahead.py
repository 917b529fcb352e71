"""Whatever was read before, the same blocks come back."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from harness.ondisk.units import LogSector
from harness.storage.read_ahead import LEAST_BYTES, ReadAhead

START = 8192  # where the log begins in the file


@pytest.mark.parametrize("size", [START + 5 * 4096, START + LEAST_BYTES * 3 + 700])
def test_blocks_are_those_of_the_file_in_any_order_and_from_any_sector(
    size: int, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes(size)
    (tmp_path / "log").write_bytes(content)
    descriptor = os.open(tmp_path / "log", os.O_RDONLY)
    told: list[int] = []
    reader = ReadAhead(descriptor, START, told.append)
    draw = random.Random(2)
    for _ in range(3000):
        position, count = draw.randrange((size - START) // 512 + 20), draw.choice([1, 1, 2, 3, 40])
        at = START + position * 512
        there = min(count, max(0, size - at) // 4096)
        found = bytes(reader.read_blocks(LogSector(position), count))
        assert found == content[at : at + there * 4096], (position, count)
    os.close(descriptor)
    assert set(told) <= set(range(0, size + 20 * 512, 512))
