"""Tricks with the payloads of a meta block: what each returns is said in words beside it.

Independent of the project, like the writer that it is built on; section numbers are those of
md-journal-format.md. Every page checksum is right unless the words say otherwise.
"""

import random
import struct
from collections.abc import Callable, Sequence

from testcases.independent_geometry import PAGE_BYTES, PAGE_SECTORS, data_disks, place
from testcases.journal_writer import (
    ArrayImages,
    Data,
    Flush,
    Parity,
    Payload,
    Raw,
    Ring,
    meta_block,
    raw_crc32c,
)

U64 = 2**64
Trick = tuple[str, Sequence[Payload]]


class Site:
    """Where a meta block is being written: its array, its ring, and how far its pages go."""

    def __init__(
        self,
        draw: random.Random,
        images: ArrayImages,
        ring: Ring,
        noise: Callable[[int], bytes],
    ) -> None:
        self.draw = draw
        self.images = images
        self.ring = ring
        self.seq = 0
        self.pages_at = 0
        self._noise = noise

    def move_to(self, position: int, seq: int) -> None:
        """Begin a meta block."""
        self.seq = seq
        self.pages_at = self.ring.add(position, PAGE_SECTORS)

    def log(self, payloads: Sequence[Payload]) -> None:
        """Take note of the pages that payloads bring."""
        for payload in payloads:
            for _ in payload._log_pages():
                self.pages_at = self.ring.add(self.pages_at, PAGE_SECTORS)

    @property
    def parities(self) -> int:
        """Pages of parity of each stripe."""
        return 2 if self.images.level == 6 else 1

    @property
    def array_sectors(self) -> int:
        """Size of the md device."""
        dd = data_disks(level=self.images.level, raid_disks=self.images.raid_disks)
        return dd * self.images.data_sectors

    def page(self) -> bytes:
        """Return any page."""
        return self._noise(self.draw.randrange(1000))

    def checksum(self, page: bytes) -> int:
        """Return the checksum that a descriptor states of a page."""
        return raw_crc32c(self.ring.seed, page)

    def page_of_array(self) -> int:
        """Return where some page of the md device begins."""
        return self.draw.randrange(self.array_sectors // PAGE_SECTORS) * PAGE_SECTORS

    def stripe_of_array(self) -> int:
        """Return some stripe sector."""
        return self.draw.randrange(self.images.data_sectors // PAGE_SECTORS) * PAGE_SECTORS

    def parity(self, stripe: int) -> Parity:
        """Return a PARITY of noise, of as many pages as the level has."""
        return Parity(stripe, [self.page() for _ in range(self.parities)])


def whole_stripe(site: Site) -> Trick:
    at = site.page_of_array()
    return f"stripe of array sector {at}", site.images.stripe({at: site.page()})


def data_inside(site: Site) -> Trick:
    at = site.page_of_array()
    return f"DATA alone at {at}", [Data(at, [site.page()])]


def parity_alone(site: Site) -> Trick:
    at = site.stripe_of_array()
    return f"PARITY alone at {at}", [site.parity(at)]


def parity_first(site: Site) -> Trick:
    data, parity = site.images.stripe({site.page_of_array(): site.page()})
    return f"PARITY before the DATA of {data.location}", [parity, data]


def parity_twice(site: Site) -> Trick:
    data, parity = site.images.stripe({site.page_of_array(): site.page()})
    return f"PARITY of {parity.location} twice", [data, parity, site.parity(parity.location)]


def wrong_parity(site: Site) -> Trick:
    data, parity = site.images.stripe({site.page_of_array(): site.page()})
    return f"noise as PARITY of {parity.location}", [data, site.parity(parity.location)]


def at_the_edge(site: Site) -> Trick:
    last, end = site.array_sectors - PAGE_SECTORS, site.images.data_sectors
    at = site.draw.choice([last, last + PAGE_SECTORS, last + 1, last - 1])
    stripe = site.draw.choice([end - PAGE_SECTORS, end, end - 1])
    return f"DATA at {at}, PARITY at {stripe}: the array's edge", [
        Data(at, [site.page()]), site.parity(stripe)
    ]  # fmt: skip


def beyond(site: Site) -> Trick:
    far = [site.array_sectors + 64, 2**31, 2**32, 2**40, 2**63 - 8, 2**63, U64 - 8, U64 - 2048]
    at = site.draw.choice(far)
    stripe = place(**site.images.shape, array_sector=at).member_sector
    return f"DATA at {at} with its PARITY: beyond the array", [
        Data(at, [site.page()]), site.parity(stripe)
    ]  # fmt: skip


def unaligned(site: Site) -> Trick:
    at = site.page_of_array() + site.draw.randint(1, 7)
    stripe = place(**site.images.shape, array_sector=at).member_sector
    return f"unaligned DATA at {at} with its PARITY", [
        Data(at, [site.page()]), site.parity(stripe)
    ]  # fmt: skip


def overlapping(site: Site) -> Trick:
    at = site.page_of_array()
    shifted = at + site.draw.choice([1, 4, 7])
    payloads = [Data(at, [site.page()]), Data(shifted, [site.page()])]
    stripe = place(**site.images.shape, array_sector=at).member_sector
    return f"overlapping DATA at {at} and {shifted}", [*payloads, site.parity(stripe)]


def duplicate(site: Site) -> Trick:
    at = site.page_of_array()
    data, parity = site.images.stripe({at: site.page()})
    return f"DATA at {at} twice", [Data(at, [site.page()]), data, parity]


def across_stripes(site: Site) -> Trick:
    one, two = site.page_of_array(), site.page_of_array()
    stripe = place(**site.images.shape, array_sector=two).member_sector
    payloads = [Data(one, [site.page()]), Data(two, [site.page()]), site.parity(stripe)]
    return f"DATA at {one} and {two} before the PARITY of the latter", payloads


def page_is_a_meta(site: Site) -> Trick:
    """A page that is the next meta block, and would be taken for it after a mismatch."""
    at = site.pages_at
    block = meta_block(seed=site.ring.seed, seq=(site.seq + 1) % U64, position=at)
    sums = [site.checksum(block) ^ site.draw.choice([0, 1])]
    words = f"a page at {at} that is the next meta block" + (
        "" if sums[0] == site.checksum(block) else ", under a wrong checksum"
    )
    return words, [Data(site.page_of_array(), [block], checksums=sums)]


def page_of_another(site: Site) -> Trick:
    """A payload without pages: what lies there is the next meta block, or whatever was there."""
    page = bytes(PAGE_BYTES)
    return "DATA whose page is not written but taken from what follows", [
        Data(site.page_of_array(), [], size=8, checksums=[site.checksum(page)])
    ]


def around_the_ring(site: Site) -> Trick:
    """A size that leads around the ring, onto the meta block itself or out of the ring."""
    size = site.draw.choice([site.ring.size_sectors - PAGE_SECTORS, site.ring.size_sectors, 504])
    page = site.page()
    sums = [site.checksum(page)] * min(size // PAGE_SECTORS, 60)
    payloads = [
        Data(site.page_of_array(), [page], size=len(sums) * PAGE_SECTORS, checksums=sums),
        Data(site.page_of_array(), [page]),
    ]
    return f"DATA of {len(sums)} pages that leads around the ring", payloads


def lying_size(site: Site) -> Trick:
    size = site.draw.choice([0, 1, 7, 9, 12, 16, 24, 64, 2**16, 2**31, 2**32 - 8, 2**32 - 1])
    page = site.page()
    sums = [site.checksum(page)]
    if site.draw.random() < 0.5:
        return f"DATA of one page with size {size}", [
            Data(site.page_of_array(), [page], size=size, checksums=sums)
        ]
    pages = [page] * site.parities
    data, parity = site.images.stripe({site.page_of_array(): page})
    lie = Parity(parity.location, pages, size=size, checksums=sums * site.parities)
    return f"PARITY with size {size}", [data, lie]


def long_data(site: Site) -> Trick:
    at, pages = site.page_of_array(), [site.page() for _ in range(3)]
    return f"DATA of three pages at {at}", [Data(at, pages)]


def bad_page(site: Site) -> Trick:
    page = site.page()
    sums = [site.checksum(page) ^ 1 << site.draw.randrange(32)]
    return "DATA under a wrong checksum", [Data(site.page_of_array(), [page], checksums=sums)]


def flush(site: Site) -> Trick:
    some = [site.stripe_of_array() for _ in range(site.draw.randint(1, 5))]
    return f"FLUSH of {some}", [Flush(some)]


def odd_flush(site: Site) -> Trick:
    listed = [site.stripe_of_array() + 1, U64 - 8, site.images.data_sectors]
    size = site.draw.choice([0, 4, 12, 20, 24, 32, 4096, 2**32 - 1])
    return f"FLUSH of {listed} with size {size}", [Flush(listed, size=size)]


def long_flush(site: Site) -> Trick:
    return "FLUSH of 50 stripes", [Flush([8 * n for n in range(50)])]


def flags(site: Site) -> Trick:
    data, parity = site.images.stripe({site.page_of_array(): site.page()})
    flagged = Data(data.location, data.pages, flags=site.draw.choice([1, 2, 3, 0xFFFF]))
    return "flags are set", [flagged, Parity(parity.location, parity.pages, flags=1)]


def unknown_type(site: Site) -> Trick:
    kind = site.draw.choice([3, 4, 255, 0xFFFF])
    return f"payload of type {kind}", [Raw(struct.pack("<HHIQI", kind, 0, 8, 0, 0))]


def trailing(site: Site) -> Trick:
    count = site.draw.choice([1, 2, 3, 4, 5, 7, 8, 12, 15])
    return f"{count} bytes that are no descriptor", [Raw(site.draw.randbytes(count))]


PAYLOAD_TRICKS: tuple[Callable[[Site], Trick], ...] = (
    # Twice, so that what follows on a trick is often enough what a driver writes.
    whole_stripe, whole_stripe, whole_stripe, whole_stripe, data_inside, data_inside,
    parity_alone, parity_first, parity_twice, wrong_parity, at_the_edge, beyond, unaligned,
    overlapping, duplicate, across_stripes, page_is_a_meta, page_of_another, around_the_ring,
    lying_size, lying_size, long_data, bad_page, flush, odd_flush, long_flush, flags,
    unknown_type, trailing,
)  # fmt: skip
