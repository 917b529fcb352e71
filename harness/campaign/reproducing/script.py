"""What a shell script is made of that shows a bundle's red without this project.

Of a state: the disks, and what must be true when a kernel has recovered them. Of a workload or a
story: its steps as commands.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.campaign.recording import recording_of
from harness.campaign.reproducing.bundle import Bundle, Kind
from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.crash.pattern import SECTOR_BYTES, Stamp, sector_content
from harness.crash.workload import Workload, Write, WriteKind
from harness.errors import BadImage, BadInput
from harness.ondisk.units import BLOCK_SECTORS
from harness.recovery.era import Era
from harness.recovery.log import UndefinedRecovery
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE, StripeCacheExhausted
from harness.recovery.plan import UnreadableTail
from harness.storage.bundle_file import DiskImage
from harness.verdict.durability import Promises
from harness.verdict.predicted_state import PredictedState, predict_state, superblocks_of

_MOST_HASHED_BYTES = 1 << 30  # of a member's data area
_MOST_CHANGED = 64
_MOST_SECTORS = 32
_SECTOR = re.compile(r"array sector (\d+) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptDisk:
    """A disk that a script puts together."""

    name: str
    size_bytes: int
    data: tuple[str, ...]  # lines of base64 of gzip of all blocks that are no zeroes
    extents: tuple[tuple[int, int, int], ...]  # (block of the disk, blocks, block of the data)


@dataclass(frozen=True, slots=True)
class AreaCheck:
    """Blocks of a disk, and what sha256 they must have afterwards."""

    name: str
    block: int
    blocks: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SectorCheck:
    """A sector of the array, and the sha256 of everything that it may hold."""

    sector: int
    allowed: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateScript:
    """A script that puts a state of disks before a kernel."""

    disks: tuple[ScriptDisk, ...]
    there: tuple[str, ...]
    missing: str  # a member that is left out on purpose, to show a write hole
    areas: tuple[AreaCheck, ...]  # whole data areas of members
    changed: tuple[AreaCheck, ...]  # of them the blocks that recovery is to write
    sectors: tuple[SectorCheck, ...]


def state_script(bundle: Bundle, era: Era) -> StateScript:
    """Return what a script about a state is made of.

    Raises:
        BadInput: the bundle has no state.
    """
    if not bundle.images:
        raise BadInput("the bundle has no disks; its script is made of its steps")
    predicted = _predicted(bundle, era)
    missing = ""
    if not bundle.shape.journaled:
        number = 0 if bundle.state is None else bundle.state.number
        missing = bundle.shape.member_names[number % bundle.shape.members]
    there = tuple(name for name in bundle.there if name != missing)
    return StateScript(
        disks=tuple(_disk(name, image) for name, image in bundle.images.items() if name in there),
        there=there, missing=missing,
        areas=() if predicted is None else tuple(_areas(bundle, predicted)),
        changed=() if predicted is None else tuple(_changed(predicted))[:_MOST_CHANGED],
        sectors=tuple(_sectors(bundle)),
    )  # fmt: skip


def _predicted(bundle: Bundle, era: Era) -> PredictedState | None:
    contents = {name: bundle.images[name].content for name in bundle.there}
    try:
        return predict_state(
            contents, bundle.shape.disk_sizes, era, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE
        )
    except (UndefinedRecovery, UnreadableTail, StripeCacheExhausted, BadImage):
        return None


def _disk(name: str, image: DiskImage) -> ScriptDisk:
    extents: list[tuple[int, int, int]] = []
    data = bytearray()
    for number, block in sorted(image.content.blocks.items()):
        if not any(block):
            continue
        if extents and number == extents[-1][0] + extents[-1][1]:
            first, count, at = extents[-1]
            extents[-1] = (first, count + 1, at)
        else:
            extents.append((number, 1, len(data) // BLOCK_BYTES))
        data += block
    packed = base64.b64encode(gzip.compress(bytes(data), mtime=0)).decode()
    return ScriptDisk(
        name=name, size_bytes=image.size_bytes, data=tuple(textwrap.wrap(packed, 76)),
        extents=tuple(extents),
    )  # fmt: skip


def _areas(bundle: Bundle, predicted: PredictedState) -> Iterator[AreaCheck]:
    superblocks = superblocks_of(predicted.before, bundle.shape.disk_sizes)
    blocks = predicted.array.geometry.member_sectors // BLOCK_SECTORS
    if blocks * BLOCK_BYTES > _MOST_HASHED_BYTES:
        return
    for names in predicted.array.members.values():
        for name in names:
            first = superblocks[name].data_offset // BLOCK_SECTORS
            yield AreaCheck(name, first, blocks, _sha256(predicted.after[name], first, blocks))


def _changed(predicted: PredictedState) -> Iterator[AreaCheck]:
    for names in predicted.array.members.values():
        for name in names:
            after = predicted.after[name]
            for block in sorted(after.differing(predicted.before[name])):
                yield AreaCheck(name, block, 1, _sha256(after, block, 1))


def _sha256(content: DiskContent, first: int, blocks: int) -> str:
    digest = hashlib.sha256()
    for number in range(first, first + blocks):
        digest.update(content.block(number))
    return digest.hexdigest()


def _sectors(bundle: Bundle) -> Iterator[SectorCheck]:
    """Yield what the sectors that an oracle objected to may hold, where their writes are known."""
    if bundle.kind is not Kind.EXPLORED or bundle.state is None:
        return
    assert bundle.workload is not None
    assert bundle.trace is not None
    recording = recording_of(bundle.workload, bundle.trace)
    promises = Promises(bundle.workload, recording.trace, bundle.shape.geometry)
    cut = bundle.state.cut
    named = {int(n) for f in bundle.verdict.findings for n in _SECTOR.findall(f.what)}
    for sector in sorted(named)[:_MOST_SECTORS]:
        yield from _sector(bundle.workload, sector, promises.acknowledged(cut))


def _sector(workload: Workload, sector: int, acknowledged: int) -> Iterator[SectorCheck]:
    touching = [w for w in workload.writes if w.sector <= sector < w.sector + w.sectors]
    if any(write.kind is WriteKind.DISCARD for write in touching):
        return
    safe = max((w.number for w in touching if w.number <= acknowledged), default=0)
    allowed = [_held(workload, write, sector) for write in touching if write.number >= safe]
    if not safe:
        allowed.append(bytes(SECTOR_BYTES))
    words = f"write {safe} or a later one" if safe else "zeroes, or a write to it whole"
    sums = tuple(dict.fromkeys(hashlib.sha256(each).hexdigest() for each in allowed))
    yield SectorCheck(sector, sums, words)


def _held(workload: Workload, write: Write, sector: int) -> bytes:
    if write.kind is WriteKind.ZEROES:
        return bytes(SECTOR_BYTES)
    return sector_content(Stamp(workload.seed, write.number, sector, workload.fill))


def what_to_look_for(bundle: Bundle) -> Sequence[str]:
    """Say in a few lines what the red looks like to who has but a terminal."""
    lines = [f"{finding.oracle}: {finding.what}" for finding in bundle.verdict.findings[:4]]
    lines += [f"  {detail}" for finding in bundle.verdict.findings[:1]
              for detail in finding.details[:4]]  # fmt: skip
    return lines or ["nobody has seen it red yet: whatever is not as below"]
