"""A journal for each seed: what a driver could leave, and what none would.

`legal` writes what the driver itself could leave in a crash, and knows what the members hold after
recovery. `hostile` writes what only someone with a hex editor would, each meta block with one trick
or more. `crowded` has more stripes than the stripe cache, `patched` a journal of the others with
bytes changed under right checksums. Section numbers are those of md-journal-format.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.fuzzing.journal import Journal, LooseBlock, WrittenMeta
from harness.fuzzing.legal import DriverLog
from harness.fuzzing.payloads import TRUE, U64, Data, Flush, Lies, Payload, bytes_used
from harness.fuzzing.site import FuzzedArray, Site, stripe_payloads
from harness.fuzzing.tricks import PAYLOAD_TRICKS
from harness.ondisk.log import HEADER_BYTES, MAGIC, VERSION
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS

LEGAL, HOSTILE, CROWDED, PATCHED = "legal", "hostile", "crowded", "patched"
STRIPE_CACHE = 256  # NR_STRIPES: what `crowded` goes beyond
_LIES = 0.1  # share of meta blocks of which a field of the header is wrong
_SWAPPED_MAGIC = 0x09C53364
_DESCRIPTORS = 96  # bytes of them that `patched` changes: the first few descriptors


def legal(seed: int, array: FuzzedArray, *, write_back: bool) -> Journal:
    """Return what the driver could leave: wrapped, torn or whole."""
    draw = random.Random(f"legal {seed}")
    journal, seq = _new(f"legal-{seed}", LEGAL, draw, array, last_seq=2**32 - 1)
    DriverLog(array, journal, draw, seq, write_back=write_back).run(draw.randint(1, 6))
    return journal


def hostile(seed: int, array: FuzzedArray) -> Journal:
    """Return a journal that no driver writes, its checksums right unless the words say else."""
    draw = random.Random(f"hostile {seed}")
    journal, seq = _new(f"hostile-{seed}", HOSTILE, draw, array, last_seq=U64 - 1)
    site = Site(draw, array)
    position = journal.tail
    for _ in range(draw.randint(1, 5)):
        meta, words = _meta(site, journal, position, seq)
        journal.metas.append(meta)
        journal.words.append(f"meta {seq} at {position}: {'; '.join(words)}")
        position, seq = meta.end(array), (seq + 1) % U64
    journal.end = position
    if draw.random() < 0.3:
        _behind_the_end(journal, draw, array, position, seq)
    if draw.random() < 0.25:
        _lie_about_the_tail(journal, draw, array)
    return journal


def crowded(seed: int, array: FuzzedArray) -> Journal:
    """Return a journal of as many stripes as fit, more than the stripe cache if they do.

    Data and parity, or data alone; maybe a FLUSH of the first ones at the end, which comes too late
    for those that were written early for want of room (section 4.1, step 4).
    """
    draw = random.Random(f"crowded {seed}")
    journal, seq = _new(f"crowded-{seed}", CROWDED, draw, array, last_seq=2**32 - 1)
    stripes = array.member_sectors // BLOCK_SECTORS
    pages = 3 if array.level == 6 else 2
    data_only = draw.choice([0, 0, 0, 1, 8, stripes])  # of the stripes, so many
    room = array.ring_sectors // BLOCK_SECTORS - 4
    left = room * 15 // 16 // pages if data_only < stripes else room * 7 // 16
    chosen = draw.sample(range(stripes), min(stripes, left, draw.choice([64, 300, 600])))
    position = journal.tail
    while chosen:
        payloads: list[Payload] = []
        for stripe in [chosen.pop() for _ in range(min(len(chosen), draw.randint(1, 40)))]:
            at = draw.choice(array.sectors_of(stripe * BLOCK_SECTORS))
            page = Site(draw, array).page()
            whole = stripe_payloads(array, {at: page}, array.contents)
            payloads += whole[:-1] if len(chosen) < data_only else whole
        meta = WrittenMeta(seq=seq, position=position, payloads=tuple(payloads))
        journal.metas.append(meta)
        position, seq = meta.end(array), (seq + 1) % U64
    count = sum(len(meta.payloads) for meta in journal.metas)
    journal.words.append(f"{len(journal.metas)} meta blocks of {count} payloads")
    if draw.random() < 0.5:
        first = journal.metas[0].payloads[0]
        assert isinstance(first, Data)
        flush = Flush(stripes=(array.stripe_of(first.location),))
        meta = WrittenMeta(seq=seq, position=position, payloads=(flush,))
        journal.metas.append(meta)
        journal.words.append(f"meta {seq} at {position}: FLUSH of the first stripe")
        position = meta.end(array)
    journal.end = position
    return journal


def patched(seed: int, array: FuzzedArray) -> Journal:
    """Return a hostile journal with bytes of its descriptors changed under right checksums."""
    draw = random.Random(f"patched {seed}")
    journal = hostile(seed, array)
    journal.name, journal.kind = f"patched-{seed}", PATCHED
    for number in draw.sample(range(len(journal.metas)), draw.randint(1, len(journal.metas))):
        meta = journal.metas[number]
        width = draw.choice([1, 2, 4, 8])
        offset = HEADER_BYTES + draw.randrange(_DESCRIPTORS)
        edges = [0, 1, 8, 16, 2 ** (8 * width) - 1, 2 ** (8 * width - 1)]
        value = draw.choice([*edges, draw.randrange(2 ** (8 * width))]) % 2 ** (8 * width)
        patch = (offset, value.to_bytes(width, "little"))
        lies = replace(meta.lies, patches=(patch,))
        journal.metas[number] = replace(meta, lies=lies)
        journal.lies += ["patched bytes"]
        journal.words.append(f"meta {meta.seq}: bytes {offset} to {offset + width - 1} are {value}")
    return journal


def _new(
    name: str, kind: str, draw: random.Random, array: FuzzedArray, *, last_seq: int
) -> tuple[Journal, int]:
    size = array.ring_sectors
    start = draw.choice([0, draw.randrange(size // 8) * 8, size - 8])
    near = draw.choice([draw.randrange(2**32), 2**32 - 1 - draw.randrange(4)])
    seq = near if last_seq < 2**32 else draw.choice([near, 0, last_seq - draw.randrange(12_000)])
    words = [f"first meta {seq} at {start}"]
    return Journal(name, kind, words, tail=start, end=start), seq


def _meta(
    site: Site, journal: Journal, position: int, seq: int
) -> tuple[WrittenMeta, Sequence[str]]:
    """Return a meta block of up to four tricks, and what is said of it."""
    draw = site.draw
    words: list[str] = []
    payloads: list[Payload] = []
    site.move_to(position, seq)
    for _ in range(draw.randint(0, 4)):
        trick = draw.choice(PAYLOAD_TRICKS)
        say, new = trick(site)
        words.append(say)
        payloads += new
        site.log(new)
        journal.tricks.append(trick.__name__)
    lies = _lies(draw, bytes_used(payloads), position, seq)
    journal.lies += lies.names()
    words += [f"not as it should be: {', '.join(lies.names())}"] if lies.names() else []
    meta = WrittenMeta(seq=seq, position=position, payloads=tuple(payloads), lies=lies)
    pages = len(meta.pages(site.array))
    if pages and draw.random() < 0.1:
        meta = replace(meta, pages_written=draw.randrange(pages))
        journal.lies.append("pages cut off")
        words.append(f"only the first {meta.pages_written} of {pages} pages are written")
    return meta, words or ["empty"]


def _lies(draw: random.Random, used: int, position: int, seq: int) -> Lies:
    """Draw what of the header is wrong: meta_size and what is behind the list more often."""
    lies = TRUE
    if draw.random() < 0.2:
        sizes = [0, 31, 32, used - 1, used + 1, used + 3, used + 4, 4095, 4096, 4097, 2**32 - 1]
        lies = replace(lies, meta_size=max(0, draw.choice(sizes)))
    if draw.random() < 0.2:
        count = min(draw.choice([1, 3, 4, 16, 200]), BLOCK_BYTES - used)
        lies = replace(lies, noise=draw.randbytes(count))
    if draw.random() < 0.1:
        lies = replace(lies, pad8=draw.randrange(256), pad16=draw.randrange(2**16))
    if draw.random() < _LIES:
        lies = draw.choice([
            replace(lies, seq=draw.choice([(seq + 1) % U64, (seq - 1) % U64, 0, U64 - 1])),
            replace(lies, position=draw.choice([position ^ 8, position + 1, U64 - 8])),
            replace(lies, magic=draw.choice([0, MAGIC ^ 1, _SWAPPED_MAGIC])),
            replace(lies, version=draw.choice([0, VERSION + 1, 255])),
            replace(lies, checksum=draw.choice([0, 2**32 - 1, draw.randrange(2**32)])),
        ])  # fmt: skip
    return lies


def _lie_about_the_tail(journal: Journal, draw: random.Random, array: FuzzedArray) -> None:
    size = array.log_sectors
    first = journal.metas[0].position
    lies = [first + 1, size, size & ~7, size - 8 & ~7, 2**63, U64 - 8, (first + 8) % size & ~7]
    journal.tail = draw.choice([*lies, journal.metas[-1].position])
    journal.lies.append("journal_tail")
    journal.words.append(f"tail is {journal.tail}, the log begins at {first}")


def _behind_the_end(
    journal: Journal, draw: random.Random, array: FuzzedArray, position: int, seq: int
) -> None:
    """Put a block behind the last meta that looks like one more, and is none."""
    makers: list[tuple[str, Callable[[], WrittenMeta]]] = [
        ("a meta of another array",
         lambda: WrittenMeta(seq=seq, position=position, seed=draw.randrange(2**32))),
        ("a meta of an older round",
         lambda: WrittenMeta(seq=(seq - 50) % U64, position=position)),
        ("a meta of another version",
         lambda: WrittenMeta(seq=seq, position=position, lies=Lies(version=2))),
        ("a meta of another magic",
         lambda: WrittenMeta(seq=seq, position=position, lies=Lies(magic=0x6433C508))),
        ("a meta with a gap in the sequence",
         lambda: WrittenMeta(seq=(seq + 1) % U64, position=position)),
        ("the last meta once more",
         lambda: replace(journal.metas[-1], pages_written=0, position=position,
                         payloads=())),
    ]  # fmt: skip
    what, make = draw.choice(makers)
    block = make().blocks(array)[0]
    journal.loose.append(LooseBlock(position, block))
    journal.tricks.append("behind_the_end")
    journal.words.append(f"{what} at {position}, behind the end")


def any_journal(number: int, seed: int, array: FuzzedArray, *, degraded: bool) -> Journal:
    """Return journal *number* of a campaign.

    Args:
        number: of the state.
        seed: of the campaign.
        array: to write it for.
        degraded: whether a member is missing: the driver is then never in write-back mode (3.4).
    """
    draw = random.Random(f"journal {seed} {number}")
    own = draw.randrange(2**32)
    kind = draw.choices([HOSTILE, LEGAL, PATCHED, CROWDED], [70, 12, 12, 6])[0]
    if kind == LEGAL:
        return legal(own, array, write_back=not degraded and draw.random() < 0.5)
    if kind == CROWDED:
        return crowded(own, array)
    return (hostile if kind == HOSTILE else patched)(own, array)
