"""Journals at random, legal and hostile, with valid checksums: a case for each seed, in words.

Built on the independent writer and on md-journal-format.md alone (section numbers are that
document's); nothing of the project is imported. `legal` writes what the driver itself could leave
in a crash, and knows what the members hold after recovery. `hostile` writes what only someone with
a hex editor would, each meta block with one trick or more. `WrittenCase.store` makes image files
of either, for a parser and for a kernel alike.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from testcases.hostile_payloads import PAYLOAD_TRICKS, Site
from testcases.independent_geometry import (
    LAYOUTS,
    PAGE_BYTES,
    PAGE_SECTORS,
    SuperblockFields,
    stripe_map,
)
from testcases.journal_writer import (
    ArrayImages,
    Flush,
    MetaOverrides,
    Payload,
    Ring,
    meta_block,
    uuid_checksum,
)

U64 = 2**64
_POOL = 24  # pages that contents are made of; few, so that their checksums are counted once


@cache
def noise(number: int) -> bytes:
    """Return one of a few pages of noise."""
    return random.Random(number % _POOL).randbytes(PAGE_BYTES)


def first_contents(sector: int) -> bytes:
    """Contents of every array before its log is written."""
    return noise(sector // PAGE_SECTORS)


@dataclass(frozen=True, slots=True)
class WrittenMeta:
    """A meta block as it was written."""

    seq: int
    position: int
    payloads: tuple[Payload, ...]


@dataclass(slots=True)
class WrittenCase:
    """An array with a journal, and what is special about it."""

    name: str
    images: ArrayImages
    ring: Ring
    fields: SuperblockFields  # of the journal's superblock
    description: list[str]
    metas: list[WrittenMeta] = field(default_factory=list)
    end: int = 0  # where the last meta's pages end
    on_members: dict[int, bytes] = field(default_factory=dict)  # written in place already
    recovered: dict[int, bytes] = field(default_factory=dict)  # known of legal cases only

    @property
    def words(self) -> str:
        """All that is in it, in one line."""
        return f"{self.name}: " + "; ".join(self.description)

    @property
    def is_write_through(self) -> bool:
        """Whether every stripe has data and parity in one meta block, and none is flushed."""
        return "write-through" in self.description

    @property
    def has_flush(self) -> bool:
        """Whether a FLUSH is logged."""
        return any(isinstance(each, Flush) for meta in self.metas for each in meta.payloads)

    def files(self) -> dict[str, bytes]:
        """Return every device's image by file name, as the crash leaves it."""
        members = self._members(self.on_members)
        return members | {"journal.img": self.images.journal_image(self.ring, **self.fields)}

    def members_after(self) -> dict[str, bytes]:
        """Return the members' images after recovery; of a legal case."""
        return self._members(self.on_members | self.recovered)

    def store(self, folder: Path) -> list[Path]:
        """Write all images and the description into *folder*; return the images' paths."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "description.txt").write_text("\n".join([self.name, *self.description]) + "\n")
        paths = []
        for name, image in self.files().items():
            paths.append(folder / name)
            paths[-1].write_bytes(image)
        return paths

    def _members(self, updates: Mapping[int, bytes]) -> dict[str, bytes]:
        def contents(sector: int) -> bytes:
            return updates.get(sector, self.images.contents(sector))

        after = replace(self.images, contents=contents).member_images()
        return {f"member{slot}.img": image for slot, image in after.items()}


def any_array(draw: random.Random) -> ArrayImages:
    """Return a small array of any level, layout, metadata version and alignment."""
    level, layout = draw.choice(LAYOUTS)
    least = 4 if level == 6 else 3
    minor = draw.randrange(3)
    chunk = draw.choice([8, 16, 24])
    return ArrayImages(
        level=level, layout=layout, raid_disks=least + draw.randrange(3), chunk_sectors=chunk,
        data_sectors=chunk * draw.randint(2, 4), log_sectors=draw.choice([160, 256, 391]),
        minor_version=minor, data_offset=draw.choice([(0, 16), (8, 24), (16, 32)][minor]),
        journal_data_offset=draw.choice([16, 40]), set_uuid=draw.randbytes(16),
        contents=first_contents,
    )  # fmt: skip


def _maybe_degraded(images: ArrayImages, draw: random.Random) -> ArrayImages:
    count = draw.choice([0, 0, 1, images.level - 4 or 1])
    return replace(images, missing_slots=draw.sample(range(images.raid_disks), min(count, 2)))


def legal(seed: int, images: ArrayImages | None = None) -> WrittenCase:
    """Return what the driver could leave: write-through or write-back, wrapped, torn or whole."""
    draw = random.Random(f"legal {seed}")
    write_back = draw.random() < 0.5
    if images is None:
        # A degraded array is never in write-back mode (3.4).
        images = any_array(draw) if write_back else _maybe_degraded(any_array(draw), draw)
    case = _new_case(f"legal-{seed}", draw, images, last_seq=2**32 - 1)
    _Driver(case, draw, write_back=write_back).run(draw.randint(1, 6))
    return case


def hostile(seed: int, images: ArrayImages | None = None) -> WrittenCase:
    """Return a journal that no driver writes, its checksums valid unless the words say else."""
    draw = random.Random(f"hostile {seed}")
    images = images or _maybe_degraded(any_array(draw), draw)
    case = _new_case(f"hostile-{seed}", draw, images, last_seq=U64 - 1)
    site = Site(draw, case.images, case.ring, noise)
    position, seq = case.metas[0].position if case.metas else case.end, _first_seq(case)
    for _ in range(draw.randint(1, 5)):
        words, payloads, overrides = _tricks(site, draw, position, seq)
        written, say = _header(draw, position, seq)
        after = _append(case, position, seq, written, payloads, overrides)
        case.description.append(f"meta {seq} at {position}: {'; '.join([*words, *say])}")
        position, seq = after, (seq + 1) % U64
    case.end = position
    if draw.random() < 0.3:
        _behind_the_end(case, draw, position, seq)
    if draw.random() < 0.25:
        _lie_about_the_tail(case, draw)
    return case


def _new_case(name: str, draw: random.Random, images: ArrayImages, last_seq: int) -> WrittenCase:
    ring = images.ring()
    start = draw.choice([0, draw.randrange(ring.size_sectors // 8) * 8, ring.size_sectors - 8])
    near = draw.choice([draw.randrange(2**32), 2**32 - 1 - draw.randrange(4)])
    seq = near if last_seq < 2**32 else draw.choice([near, 0, last_seq - draw.randrange(12_000)])
    words = [
        f"RAID-{images.level} layout {images.layout} of {images.raid_disks}",
        f"chunk {images.chunk_sectors}, metadata 1.{images.minor_version}",
        f"log of {images.log_sectors} sectors, first meta {seq} at {start}",
        *([f"without slots {sorted(images.missing_slots)}"] if images.missing_slots else []),
    ]
    case = WrittenCase(name, images, ring, {"journal_tail": start}, words, end=start)
    case.metas.append(WrittenMeta(seq, start, ()))
    return case


def _first_seq(case: WrittenCase) -> int:
    # The place of the first meta is kept as a meta of its own until it is written.
    return case.metas.pop().seq


def _append(
    case: WrittenCase,
    position: int,
    seq: int,
    header: tuple[int, int],
    payloads: Sequence[Payload],
    overrides: MetaOverrides,
) -> int:
    """Write a meta at *position*, whatever its *header* (position, seq) says; wrap what must."""
    seed = case.ring.seed
    stated_position, stated_seq = header
    block = meta_block(
        seed=seed, seq=stated_seq, position=stated_position, payloads=payloads, **overrides
    )
    pages = b"".join(page for payload in payloads for page in payload._log_pages())
    room = case.ring.size_sectors * 512 - PAGE_BYTES
    after = case.ring.put_block(position=position, block=block + pages[:room])
    case.metas.append(WrittenMeta(seq, position, tuple(payloads)))
    return after


class _Driver:
    """Writes stripes as the driver does (section 3), and keeps account of what is where."""

    def __init__(self, case: WrittenCase, draw: random.Random, *, write_back: bool) -> None:
        self._case = case
        self._draw = draw
        self._write_back = write_back
        self._seq = _first_seq(case)
        self._position = case.end
        self._used = 0
        self._cached: dict[int, list[int]] = {}  # stripe -> sectors in the log without parity
        self._logged: dict[int, bytes] = {}  # what the array holds, log included
        self._flushable: set[int] = set()
        self._before: dict[int, bytes] = {}  # what recovery would leave without the last meta
        case.description.append("write-back" if write_back else "write-through")

    def run(self, steps: int) -> None:
        """Log that many meta blocks, as far as they fit, and maybe tear the last."""
        if self._draw.random() < 0.4:
            self._log("empty meta", [])
        for _ in range(steps):
            if self._write_back:
                self._draw.choice([self._cache, self._cache, self._write_out, self._flush])()
            else:
                self._write_through()
        if not self._case.metas:
            self._log("empty meta", [])
        if len(self._case.metas) > 1 and self._draw.random() < 0.3:
            self._tear()
        self._case.end = self._position

    def _new_pages(self, stripe: int, count: int) -> dict[int, bytes]:
        at = list(stripe_map(**self._case.images.shape, stripe_sector=stripe))
        some = self._draw.sample(at, min(count, len(at)))
        return {sector: noise(self._draw.randrange(_POOL)) for sector in some}

    def _any_stripe(self) -> int:
        return self._draw.randrange(self._case.images.data_sectors // PAGE_SECTORS) * PAGE_SECTORS

    def _holds(self, sector: int) -> bytes:
        return self._logged.get(sector, self._case.images.contents(sector))

    def _log(self, what: str, payloads: Sequence[Payload]) -> bool:
        sectors = PAGE_SECTORS * (1 + sum(len(each._log_pages()) for each in payloads))
        if self._case.ring.size_sectors <= self._used + sectors:
            return False
        at = self._position
        self._before = dict(self._case.recovered)
        self._position = _append(self._case, at, self._seq, (at, self._seq), payloads, {})
        self._case.description.append(f"meta {self._seq} at {at}: {what}")
        self._used += sectors
        self._seq += 1
        return True

    def _write_through(self) -> None:
        payloads: list[Payload] = []
        stripes = sorted({self._any_stripe() for _ in range(self._draw.randint(1, 2))})
        new: dict[int, bytes] = {}
        for stripe in stripes:
            pages = self._new_pages(stripe, self._draw.randint(1, 4))
            payloads += self._case.images.stripe(pages, old=self._holds)
            new |= pages
        if self._log(f"{len(new)} pages and parity of {stripes}", payloads):
            self._logged |= new
            self._case.recovered |= new

    def _cache(self) -> None:
        stripe = self._any_stripe()
        if stripe in self._flushable:  # it says that it is on the members before it goes on (3.4)
            return self._flush()
        pages = self._new_pages(stripe, self._draw.randint(1, 2))
        data = self._case.images.stripe(pages, old=self._holds)[:-1]
        if self._log(f"{len(pages)} pages of {stripe}", data):
            self._logged |= pages
            self._case.recovered |= pages
            self._cached.setdefault(stripe, []).extend(pages)
        return None

    def _write_out(self) -> None:
        if not self._cached:
            return self._cache()
        stripe = self._draw.choice(sorted(self._cached))
        pages = {sector: self._holds(sector) for sector in self._cached[stripe]}
        parity = self._case.images.stripe(pages, old=self._holds)[-1]
        if self._log(f"parity of {stripe}", [parity]):
            del self._cached[stripe]
            self._flushable.add(stripe)
        return None

    def _flush(self) -> None:
        if not self._flushable:
            return self._write_out()
        stripes = sorted(self._flushable)
        if self._log(f"FLUSH of {stripes}", [Flush([stripe]) for stripe in stripes]):
            self._flushable.clear()
            for stripe in stripes:
                for sector in stripe_map(**self._case.images.shape, stripe_sector=stripe):
                    self._case.on_members[sector] = self._holds(sector)
        return None

    def _tear(self) -> None:
        """Lose the last meta's own block, as a power cut does: its content never was."""
        last = self._case.metas.pop()
        self._case.ring.put_block(position=last.position, block=noise(0))
        self._case.recovered = self._before
        self._position = last.position
        self._case.description.append(f"torn: the block at {last.position} is not a meta")


def _tricks(
    site: Site, draw: random.Random, position: int, seq: int
) -> tuple[list[str], list[Payload], MetaOverrides]:
    words: list[str] = []
    payloads: list[Payload] = []
    site.move_to(position, seq)
    for _ in range(draw.randint(0, 4)):
        trick: Callable[[Site], tuple[str, Sequence[Payload]]] = draw.choice(PAYLOAD_TRICKS)
        say, new = trick(site)
        words.append(say)
        payloads += new
        site.log(new)
    overrides = MetaOverrides()
    used = sum(len(payload._descriptor(0)) for payload in payloads) + 32
    if draw.random() < 0.2:
        sizes = [0, 31, 32, used - 1, used + 1, used + 3, used + 4, 4095, 4096, 4097, 2**32 - 1]
        overrides["meta_size"] = max(0, draw.choice(sizes))
        words.append(f"meta_size {overrides['meta_size']} for {used} bytes")
    if draw.random() < 0.2:
        count = draw.choice([1, 3, 4, 16, 200])
        overrides["tail_bytes"] = draw.randbytes(min(count, PAGE_BYTES - used))
        words.append(f"{count} bytes of noise behind the list")
    if draw.random() < 0.1:
        overrides["pad8"], overrides["pad16"] = draw.randrange(256), draw.randrange(2**16)
        words.append("pads are not zero")
    return words or ["empty"], payloads, overrides


def _header(draw: random.Random, position: int, seq: int) -> tuple[tuple[int, int], list[str]]:
    """Return the position and seq that a meta states, mostly the true ones."""
    if draw.random() < 0.93:
        return (position, seq), []
    stated = draw.choice([(position, (seq + 1) % U64), (position ^ 8, seq), (position, 0)])
    return stated, [f"states position {stated[0]} and seq {stated[1]}"]


def _lie_about_the_tail(case: WrittenCase, draw: random.Random) -> None:
    size = case.images.log_sectors
    first = case.metas[0].position
    lies = [first + 1, size, size & ~7, size - 8 & ~7, 2**63, U64 - 8, (first + 8) % size & ~7]
    tail = draw.choice([*lies, case.metas[-1].position])
    case.fields["journal_tail"] = tail
    case.description.append(f"tail is {tail}, the log begins at {first}")


def _behind_the_end(case: WrittenCase, draw: random.Random, position: int, seq: int) -> None:
    """Put a block behind the last meta that looks like one more, and is none."""
    seed = case.ring.seed
    what, block = draw.choice([
        ("a meta of another array",
         meta_block(seed=uuid_checksum(draw.randbytes(16)), seq=seq, position=position)),
        ("a meta of an older round",
         meta_block(seed=seed, seq=(seq - 50) % U64, position=position)),
        ("a meta of another version",
         meta_block(seed=seed, seq=seq, position=position, version=2)),
        ("a meta of another magic",
         meta_block(seed=seed, seq=seq, position=position, magic=0x6433C508)),
    ])  # fmt: skip
    case.ring.put_block(position=position, block=block)
    case.description.append(f"{what} at {position}, behind the end")
