"""The map of a ring as a reader sees it: drawn, and its pixels compared with what lies where."""

from __future__ import annotations

import io
import itertools
import re

import pytest
import resvg_py
from PIL import Image

from harness.ondisk.log import DataPayload
from harness.ondisk.units import ArraySector, LogSector
from harness.recovery.log import Ring, ScannedMeta
from harness.verdict.ring_map import ring_map
from harness.verdict.ring_regions import ZEROES, Rest, live_log
from testcases.unit.test_ring_map import meta, parity, plan_of, subject_of
from testcases.unit.written_logs import U

PAPER, INK = "#ffffff", "#1b1b1b"
META, DATA, PARITY = "#1b1b1b", "#0072b2", "#e69f00"
EMPTY, OTHER = "#eceef0", "#d9d2c3"
ROWS_AT, ROW_WIDTH, ROW_HEIGHT = 108, 1024, 32
LINE_AT, TAIL_TIP_AT, HEAD_TIP_AT = 35, -2, 39  # from a row's top, downwards


class Picture:
    """The pixels of a map, and where its rows are."""

    def __init__(self, svg: str) -> None:
        drawn = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=svg))).convert("RGB")
        self._image = drawn
        self.tops = [int(y) for y in re.findall(r'<rect class="empty" y="(\d+)"', svg)]

    def at(self, x: float, y: int) -> str:
        """Return the colour of a pixel."""
        pixel = self._image.getpixel((int(x), y))
        assert isinstance(pixel, tuple)
        return "#" + bytes(map(int, pixel)).hex()

    def column(self, row: int, x: float) -> list[str]:
        """Return the colours of a row at *x*, from its top down."""
        return [self.at(x, self.tops[row] + y) for y in range(ROW_HEIGHT)]


def picture_of(metas: int, tail: int, size: int) -> Picture:
    """Draw a ring; all in blocks.

    From *tail* on lie *metas* meta blocks, each with two data pages and a parity page; the first
    quarter of the rest of the ring is zeroes, then come bytes of something else.
    """
    ring = Ring(8 * size)
    two_pages = DataPayload(flags=0, size=16, location=ArraySector(0), checksums=(0, 0))
    scans: list[ScannedMeta] = []
    for number in range(metas):
        at = 8 * (tail + 4 * number)
        scans.append(meta(number, two_pages, parity(0), at=at, sectors=32))
    plan = plan_of(scans, ring)
    rest = Rest(live_log(scans, ring), plan, ring, seed=U)
    blocks = rest.sectors // 8
    assert blocks == size - 4 * metas
    others = itertools.repeat((1, b"?" * 4096), blocks - blocks // 4)
    regions = rest.regions(itertools.chain([(blocks // 4, ZEROES)], others))
    return Picture(ring_map(subject_of(ring.size, LogSector(8 * tail)), scans, plan, rest, regions))


def stack_of(first: int, blocks: int, tail: int, head: int, size: int) -> list[str] | None:
    """Return the colours of a column from its top down; none where regions meet in it."""
    zeroes_to = head + (size - head + tail) // 4
    last = first + blocks - 1
    if tail <= first and last < head:
        if blocks == 1:
            return [[META, DATA, DATA, PARITY][(first - tail) % 4]] * ROW_HEIGHT
        return [META] * 8 + [PARITY] * 8 + [DATA] * 16
    if head <= first and last < zeroes_to:
        return [EMPTY] * ROW_HEIGHT
    if last < tail or (zeroes_to <= first and last < size):
        return [OTHER] * ROW_HEIGHT
    return None


@pytest.mark.parametrize(
    ("metas", "tail", "size", "column_blocks"),
    [
        pytest.param(100, 100, 600, 1, id="100-meta-blocks"),
        pytest.param(100_000, 5_000, 420_000, 128, id="100000-meta-blocks"),
    ],
)
def test_colours_are_where_the_regions_are(
    metas: int, tail: int, size: int, column_blocks: int
) -> None:
    picture = picture_of(metas, tail, size)
    head, in_row, width = tail + 4 * metas, 256 * column_blocks, ROW_WIDTH / 256
    assert len(picture.tops) == -(-size // in_row)
    looked_at = 0
    for number in range(size // column_blocks):
        row, column = divmod(number, 256)
        middle = ROWS_AT + width * column + width / 2
        wanted = stack_of(number * column_blocks, column_blocks, tail, head, size)
        if wanted is None:
            continue
        looked_at += 1
        found = picture.column(row, middle)
        if wanted[0] == OTHER:  # with dots in it
            assert found.count(OTHER) > ROW_HEIGHT // 2 > found.count(EMPTY), number
        else:
            assert found == wanted, number
        is_live = tail <= number * column_blocks < head
        line = picture.at(middle, picture.tops[row] + LINE_AT)
        assert line == (INK if is_live else PAPER), number
    assert looked_at >= size // column_blocks - 3, "all columns but where regions meet"
    for position, tip_at, inwards in ((tail, TAIL_TIP_AT, -5), (head, HEAD_TIP_AT, 5)):
        row, along = divmod(position, in_row)
        x = ROWS_AT + along * ROW_WIDTH / in_row
        y = picture.tops[row] + tip_at + inwards
        assert picture.at(x, y) == INK
        assert picture.at(x - 7, y) == picture.at(x + 6, y) == PAPER, "the marker is narrow"
