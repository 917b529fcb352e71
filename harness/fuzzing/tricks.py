"""Tricks with the payloads of a meta block: what each returns is said in words beside it.

Section numbers are those of md-journal-format.md. Every page checksum is right unless the words say
otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from harness.fuzzing.payloads import U64, Data, Flush, Parity, Payload, Raw, meta_block
from harness.fuzzing.site import Site
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS

Trick = tuple[str, Sequence[Payload]]


def whole_stripe(site: Site) -> Trick:
    at = site.page_of_array()
    return f"stripe of array sector {at}", site.stripe(at)


def data_inside(site: Site) -> Trick:
    at = site.page_of_array()
    return f"DATA alone at {at}", [site.data(at)]


def parity_alone(site: Site) -> Trick:
    at = site.stripe_of_array()
    return f"PARITY alone at {at}", [site.parity(at)]


def parity_first(site: Site) -> Trick:
    data, parity = site.stripe(site.page_of_array())
    return f"PARITY before the DATA of {data.location}", [parity, data]


def parity_twice(site: Site) -> Trick:
    data, parity = site.stripe(site.page_of_array())
    return f"PARITY of {parity.location} twice", [data, parity, site.parity(parity.location)]


def wrong_parity(site: Site) -> Trick:
    data, parity = site.stripe(site.page_of_array())
    return f"noise as PARITY of {parity.location}", [data, site.parity(parity.location)]


def at_the_edge(site: Site) -> Trick:
    last, end = site.array.array_sectors - BLOCK_SECTORS, site.array.member_sectors
    at = site.draw.choice([last, last + BLOCK_SECTORS, last + 1, last - 1])
    stripe = site.draw.choice([end - BLOCK_SECTORS, end, end - 1])
    payloads: list[Payload] = [site.data(at), site.parity(stripe)]
    return f"DATA at {at}, PARITY at {stripe}: the array's edge", payloads


def behind_the_edge(site: Site) -> Trick:
    """A stripe that lies behind the members' data, and still on their disks."""
    array = site.array
    room = (array.room_sectors - array.member_sectors) // BLOCK_SECTORS
    if room < 1:
        return at_the_edge(site)
    across = array.array_sectors // array.member_sectors
    row = array.member_sectors // array.chunk_sectors
    within = site.draw.randrange(room * BLOCK_SECTORS) & ~7
    down, inside = divmod(within, array.chunk_sectors)
    chunk = (row + down) * across + site.draw.randrange(across)
    at = chunk * array.chunk_sectors + inside
    stripe = array.stripe_of(at)
    payloads: list[Payload] = [site.data(at), site.parity(stripe)]
    return f"DATA at {at} with its PARITY at {stripe}: behind the array", payloads


def beyond(site: Site) -> Trick:
    far = [site.array.array_sectors + 2**21, 2**31, 2**32, 2**40, 2**63 - 8, 2**63, U64 - 8,
           U64 - 2048]  # fmt: skip
    at = site.draw.choice(far)
    payloads: list[Payload] = [site.data(at), site.parity(site.array.stripe_of(at))]
    return f"DATA at {at} with its PARITY: beyond the disks", payloads


def unaligned(site: Site) -> Trick:
    at = site.page_of_array() + site.draw.randint(1, 7)
    payloads: list[Payload] = [site.data(at), site.parity(site.array.stripe_of(at))]
    return f"unaligned DATA at {at} with its PARITY", payloads


def overlapping(site: Site) -> Trick:
    at = site.page_of_array()
    shifted = at + site.draw.choice([1, 4, 7])
    payloads: list[Payload] = [
        site.data(at),
        site.data(shifted),
        site.parity(site.array.stripe_of(at)),
    ]
    return f"overlapping DATA at {at} and {shifted}", payloads


def duplicate(site: Site) -> Trick:
    at = site.page_of_array()
    return f"DATA at {at} twice", [site.data(at), *site.stripe(at)]


def across_stripes(site: Site) -> Trick:
    one, two = site.page_of_array(), site.page_of_array()
    payloads: list[Payload] = [
        site.data(one),
        site.data(two),
        site.parity(site.array.stripe_of(two)),
    ]
    return f"DATA at {one} and {two} before the PARITY of the latter", payloads


def page_is_a_meta(site: Site) -> Trick:
    """A page that is the next meta block, and would be taken for it after a mismatch."""
    at = site.pages_at
    block = meta_block(seed=site.array.seed, seq=(site.seq + 1) % U64, position=at)
    wrong = site.draw.choice([0, 1])
    words = f"a page at {at} that is the next meta block"
    words += ", under a wrong checksum" if wrong else ""
    sums = (site.array.checksum(block) ^ wrong,)
    return words, [Data(location=site.page_of_array(), pages=(block,), checksums=sums)]


def page_of_another(site: Site) -> Trick:
    """A payload without pages: what lies there is the next meta block, or whatever was there."""
    sums = (site.array.checksum(bytes(BLOCK_BYTES)),)
    payload = Data(location=site.page_of_array(), pages=(), size=BLOCK_SECTORS, checksums=sums)
    return "DATA whose page is not written but taken from what follows", [payload]


def same_page(site: Site) -> Trick:
    """Two payloads of which the first says that it has no pages: both have the same one."""
    one, two = site.page_of_array(), site.page_of_array()
    page = site.page()
    sums = (site.array.checksum(page),)
    first = Data(location=one, pages=(), size=0, checksums=())
    second = Data(location=two, pages=(page,), checksums=sums)
    return f"DATA at {one} of size 0 before DATA at {two}", [first, second]


def around_the_ring(site: Site) -> Trick:
    """A size that leads around the ring, onto the meta block itself or out of the ring."""
    ring = site.array.ring_sectors
    size = site.draw.choice([ring - BLOCK_SECTORS, ring, 504])
    page = site.page()
    count = min(size // BLOCK_SECTORS, 60)
    sums = (site.array.checksum(page),) * count
    lie = Data(
        location=site.page_of_array(), pages=(page,), size=count * BLOCK_SECTORS, checksums=sums
    )
    payloads: list[Payload] = [lie, site.data(site.page_of_array())]
    return f"DATA of {count} pages that leads around the ring", payloads


def lying_size(site: Site) -> Trick:
    size = site.draw.choice([0, 1, 7, 8, 9, 12, 16, 24, 64, 2**16, 2**31, 2**32 - 8, 2**32 - 1])
    page = site.page()
    sums = (site.array.checksum(page),)
    if site.draw.random() < 0.5:
        payload = Data(location=site.page_of_array(), pages=(page,), size=size, checksums=sums)
        return f"DATA of one page with size {size}", [payload]
    data, parity = site.stripe(site.page_of_array())
    lie = Parity(
        location=parity.location, pages=(page,) * site.parities, size=size,
        checksums=sums * site.parities,
    )  # fmt: skip
    return f"PARITY with size {size}", [data, lie]


def one_parity_page(site: Site) -> Trick:
    """A PARITY of one page, whatever the level: on RAID-6 Q is whatever follows."""
    data, parity = site.stripe(site.page_of_array())
    return "PARITY of one page", [data, Parity(location=parity.location, pages=parity.pages[:1])]


def long_data(site: Site) -> Trick:
    at, pages = site.page_of_array(), tuple(site.page() for _ in range(3))
    return f"DATA of three pages at {at}", [Data(location=at, pages=pages)]


def bad_page(site: Site) -> Trick:
    page = site.page()
    sums = (site.array.checksum(page) ^ 1 << site.draw.randrange(32),)
    at = site.page_of_array()
    return "DATA under a wrong checksum", [Data(location=at, pages=(page,), checksums=sums)]


def bad_parity_page(site: Site) -> Trick:
    data, parity = site.stripe(site.page_of_array())
    sums = [site.array.checksum(page) for page in parity.pages]
    sums[site.draw.randrange(len(sums))] ^= 1 << site.draw.randrange(32)
    lie = Parity(location=parity.location, pages=parity.pages, checksums=tuple(sums))
    return "PARITY under a wrong checksum", [data, lie]


def flush(site: Site) -> Trick:
    some = tuple(site.stripe_of_array() for _ in range(site.draw.randint(1, 5)))
    return f"FLUSH of {list(some)}", [Flush(stripes=some)]


def flushed_stripe(site: Site) -> Trick:
    """A stripe and its FLUSH, maybe more of it afterwards."""
    data, parity = site.stripe(site.page_of_array())
    makers: list[Callable[[], Sequence[Payload]]] = [
        lambda: (),
        lambda: (site.data(data.location),),
        lambda: site.stripe(data.location),
    ]
    more = site.draw.choice(makers)()
    payloads: list[Payload] = [data, parity, Flush(stripes=(parity.location,)), *more]
    return f"stripe {parity.location}, its FLUSH, and {len(more)} payloads more", payloads


def flushed_data_only(site: Site) -> Trick:
    at = site.page_of_array()
    stripe = site.array.stripe_of(at)
    return f"DATA alone at {at} and the FLUSH of it", [site.data(at), Flush(stripes=(stripe,))]


def odd_flush(site: Site) -> Trick:
    listed = (site.stripe_of_array() + 1, U64 - 8, site.array.member_sectors)
    size = site.draw.choice([0, 4, 12, 20, 24, 32, 4096, 2**32 - 1])
    return f"FLUSH of {list(listed)} with size {size}", [Flush(stripes=listed, size=size)]


def empty_flush(site: Site) -> Trick:  # noqa: ARG001
    return "FLUSH of nothing", [Flush(stripes=())]


def long_flush(site: Site) -> Trick:
    count = site.draw.choice([50, 120])
    return f"FLUSH of {count} stripes", [Flush(stripes=tuple(8 * n for n in range(count)))]


def flags(site: Site) -> Trick:
    data, parity = site.stripe(site.page_of_array())
    some = site.draw.choice([1, 2, 3, 0xFFFF])
    flagged: list[Payload] = [
        Data(location=data.location, pages=data.pages, flags=some),
        Parity(location=parity.location, pages=parity.pages, flags=site.draw.choice([0, 1, some])),
    ]
    if site.draw.random() < 0.3:
        flagged.append(Flush(stripes=(site.stripe_of_array(),), flags=1))
    return f"flags {some:#x}", flagged


def unknown_type(site: Site) -> Trick:
    kind = site.draw.choice([3, 4, 255, 0xFFFF])
    return f"payload of type {kind}", [Raw(data=struct.pack("<HHIQI", kind, 0, 8, 0, 0))]


def trailing(site: Site) -> Trick:
    count = site.draw.choice([1, 2, 3, 4, 5, 7, 8, 12, 15])
    return f"{count} bytes that are no descriptor", [Raw(data=site.draw.randbytes(count))]


PAYLOAD_TRICKS: tuple[Callable[[Site], Trick], ...] = (
    # More than once, so that what follows on a trick is often enough what a driver writes.
    whole_stripe, whole_stripe, whole_stripe, whole_stripe, data_inside, data_inside,
    parity_alone, parity_first, parity_twice, wrong_parity, at_the_edge, behind_the_edge, beyond,
    unaligned, overlapping, duplicate, across_stripes, page_is_a_meta, page_of_another, same_page,
    around_the_ring, lying_size, lying_size, one_parity_page, long_data, bad_page, bad_parity_page,
    flush, flushed_stripe, flushed_data_only, odd_flush, empty_flush, long_flush, flags,
    unknown_type, trailing,
)  # fmt: skip
