"""Look at the folder that a run keeps of a red: make pictures and words of what is in it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.campaign.judging import complaints_in
from harness.campaign.reports.exhibit import Difference, Exhibit, LogLine, Picture
from harness.campaign.reports.page_svg import for_a_page
from harness.campaign.reports.places import Places, logged_blocks, places_of
from harness.campaign.reports.scene import Scene, in_words
from harness.campaign.reports.timeline import draw_timeline
from harness.crash.trace_text import describe_content
from harness.errors import DamagedImage, HarnessError
from harness.ondisk.superblock import SUPERBLOCK_BYTES, differing_fields
from harness.ondisk.units import BLOCK_BYTES, SECTOR_BYTES, LogSector
from harness.recovery.era import Era
from harness.recovery.log import ring_of
from harness.recovery.members import Array, no_longer_members, put_together
from harness.storage.array_files import read_journaled
from harness.storage.images import data_extents, merge_extents, opened_image, read_superblocks
from harness.storage.plans import LiveMetas, outline_of
from harness.storage.ring_pictures import draw_journal
from harness.verdict.blocks import Read, describe_difference, differing_blocks
from harness.verdict.differential import UNPREDICTABLE_FIELDS

BEFORE, PREDICTED, AFTER = "before", "predicted", "after"
_CAPTIONS = {
    BEFORE: "The journal as the power left it",
    PREDICTED: "The journal as the model predicts it",
    AFTER: "The journal as the kernel left it",
}
_LARGEST_RING_SECTORS = 256 << 11  # a larger one takes longer to draw than to recover
_MOST_DIFFERENCES = 24
_MOST_LOG_LINES = 400
_OF_GUEST = re.compile(r"-(\d+)$")
_HEX_BYTES = 8
_LOGS = ("dmesg-recovery.txt", "dmesg.txt")
_TELLING_OF_MD = ("md/raid", "md:", "md0", "mdadm", "raid5", "raid456", "r5l_", "r5c_")

Images = Mapping[str, Mapping[str, Path]]  # by time and disk


def look_at(folder: Path, *, era: Era, scene: Scene | None = None) -> Exhibit:
    """Return what can be shown of a folder that `crash`, `explore`, `fuzz` or a story has kept.

    Args:
        folder: with images in before, predicted and after, or in live, and logs.
        era: by which the journal is read.
        scene: what led to it.

    What cannot be shown is a remark; nothing is raised for a folder that lacks something.
    """
    images = _images_in(folder)
    remarks: list[str] = []
    places: Callable[[str, int], str] = _nowhere
    at_first = next((images[kind] for kind in (BEFORE, AFTER) if images[kind]), None)
    found = Exhibit()
    if at_first is None:
        remarks.append("no image of a disk was kept")
    else:
        with _remarking(remarks, "the array cannot be put together"):
            array = _array_in(at_first, remarks)
            logged: Mapping[LogSector, str] = {}
            if array.journal is not None:
                with _remarking(remarks, "its log cannot be read"):
                    logged = _logged(at_first, era)
            places = places_of(array, logged)
            found = _compared(images, places)
            maps = _maps(images, era, remarks) if array.journal is not None else ()
            found = replace(found, maps=maps)
    if scene is not None:
        timeline, requests = draw_timeline(scene, places)
        found = replace(
            found, cut=scene.words, timeline=timeline,
            requests=tuple(in_words(scene, requests, places)),
        )  # fmt: skip
    return replace(
        found, kernel_log=_kernel_log(folder), stacks=_stacks_first(_lines_of(folder / "hang.txt")),
        remarks=tuple(remarks),
    )  # fmt: skip


def marked(lines: Sequence[str]) -> tuple[LogLine, ...]:
    """Return lines of a kernel's log with those marked that tell something."""
    complaints = set(complaints_in(lines))
    found = []
    for line in lines:
        telling = "md" if any(word in line for word in _TELLING_OF_MD) else ""
        found.append(LogLine(line, "complaint" if line in complaints else telling))
    return tuple(found)


def _nowhere(_disk: str, _offset: int) -> str:
    return ""


@contextlib.contextmanager
def _remarking(remarks: list[str], what: str) -> Iterator[None]:
    """Turn what cannot be done with damaged images into a remark."""
    try:
        yield
    except (HarnessError, OSError) as error:
        remarks.append(f"{what}: {str(error).splitlines()[0]}")


def _images_in(folder: Path) -> Images:
    found = {
        kind: {path.stem: path for path in sorted((folder / kind).glob("*.img"))}
        for kind in (BEFORE, PREDICTED, AFTER)
    }
    if not found[BEFORE] and not found[AFTER]:  # of a story: as its last guest left them
        for path in sorted((folder / "live").glob("*.img"), key=_guest_of):
            found[AFTER][_OF_GUEST.sub("", path.stem)] = path
    return found


def _guest_of(path: Path) -> int:
    """Return which guest of a story had an image, by its name."""
    number = _OF_GUEST.search(path.stem)
    return int(number[1]) if number else 0


def _array_in(images: Mapping[str, Path], remarks: list[str]) -> Array:
    damaged: dict[str, DamagedImage] = {}
    superblocks = read_superblocks(list(images.values()), damaged)
    remarks += map(str, damaged.values())
    left_out = no_longer_members(superblocks)
    return put_together({n: s for n, s in superblocks.items() if n not in left_out})


def _logged(images: Mapping[str, Path], era: Era) -> dict[LogSector, str]:
    files = read_journaled(list(images.values()))
    ring = ring_of(files.journal.data_size)
    return logged_blocks(LiveMetas(files, era), files.array.geometry, ring.size)


def _maps(images: Images, era: Era, remarks: list[str]) -> tuple[Picture, ...]:
    found = []
    kinds = (BEFORE, AFTER if images[AFTER] else PREDICTED)
    for kind in (kind for kind in kinds if images[kind]):
        with _remarking(remarks, f"{_CAPTIONS[kind]}: cannot be drawn"):
            files = read_journaled(list(images[kind].values()))
            if files.journal.data_size > _LARGEST_RING_SECTORS:
                remarks.append(f"{_CAPTIONS[kind]}: too large; `mdjournal dump --svg` draws it")
                continue
            svg = draw_journal(files, outline_of(files, era), era)
            found.append(Picture(_CAPTIONS[kind], for_a_page(svg)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Opened:
    """The images of one disk that are there, and what any of them holds."""

    reads: Mapping[str, Read]
    extents: Sequence[tuple[int, int]]

    def differing(self, left: str, right: str) -> list[int]:
        """Return the offset of each block that differs, in bytes."""
        return list(differing_blocks(self.reads[left], self.reads[right], self.extents))


@contextlib.contextmanager
def _opened(images: Images, disk: str) -> Iterator[_Opened]:
    with contextlib.ExitStack() as stack:
        descriptors = {
            kind: stack.enter_context(opened_image(images[kind][disk]))
            for kind in images
            if disk in images[kind]
        }
        extents = [
            (start - start % BLOCK_BYTES, length + start % BLOCK_BYTES + -length % BLOCK_BYTES)
            for each in descriptors.values()
            for start, length in data_extents(each, 0, os.fstat(each).st_size)
        ]
        yield _Opened({k: _reader(d) for k, d in descriptors.items()}, merge_extents(extents))


def _reader(descriptor: int) -> Read:
    return lambda offset, length: os.pread(descriptor, length, offset).ljust(length, b"\0")


def _compared(images: Images, places: Places) -> Exhibit:
    """Return what recovery changed, and where that is not what was predicted."""
    changes: list[str] = []
    differences: list[Difference] = []
    more = 0
    for disk in images[BEFORE]:
        with _opened(images, disk) as opened:
            if AFTER not in opened.reads:
                continue
            changes.append(_change(disk, opened.differing(BEFORE, AFTER), places))
            if PREDICTED in opened.reads:
                wrong = [_difference(disk, at, opened.reads, places)
                         for at in opened.differing(PREDICTED, AFTER)]  # fmt: skip
                found = [each for each in wrong if each is not None]
                room = max(0, _MOST_DIFFERENCES - len(differences))
                differences += found[:room]
                more += len(found[room:])
    return Exhibit(
        changes=tuple(changes), differences=tuple(differences), more_differences=more
    )  # fmt: skip


def _change(disk: str, offsets: Sequence[int], places: Places) -> str:
    """Say what of a disk was changed: how many blocks of each kind, and from where to where."""
    if not offsets:
        return f"{disk}: nothing"
    kinds: dict[str, list[int | None]] = {}
    for offset in offsets:
        kind, number = places.kind_at(disk, offset)
        kinds.setdefault(kind or "of a disk that is left out", []).append(number)
    parts = []
    for kind, numbers in kinds.items():
        named = [number for number in numbers if number is not None]
        if not named:
            parts.append(kind)
        elif len(named) == 1:
            parts.append(f"{kind} {named[0]}")
        else:
            parts.append(f"{len(named)} blocks of {kind}s {min(named)} to {max(named)}")
    return f"{disk}: {'; '.join(parts)}"


def _difference(
    disk: str, offset: int, reads: Mapping[str, Read], places: Places
) -> Difference | None:
    """Say what is not as predicted; ``None``: only what cannot be predicted."""
    after, predicted = reads[AFTER](offset, BLOCK_BYTES), reads[PREDICTED](offset, BLOCK_BYTES)
    place = places(disk, offset)
    superblock = places.superblocks.get(disk)  # none: it is left out of the array
    if superblock is not None and superblock.at * SECTOR_BYTES == offset:
        sides = (after[:SUPERBLOCK_BYTES], predicted[:SUPERBLOCK_BYTES])
        fields = [n for n in differing_fields(*sides) if n not in UNPREDICTABLE_FIELDS]
        if not fields:
            return None
        return Difference(f"{disk}: {place}", (f"in {', '.join(fields)}",))
    lines = list(describe_difference(after, predicted))
    if superblock is not None and superblock.is_journal:
        lines[:2] = [
            f"the kernel left:     {describe_content(after)}",
            f"the model predicted: {describe_content(predicted)}",
        ]
    at = next(n for n in range(BLOCK_BYTES) if after[n] != predicted[n])
    left, wanted = (side[at : at + _HEX_BYTES].hex(" ") for side in (after, predicted))
    lines.append(f"from byte {at} of the block on: {left}, predicted {wanted}")
    before = reads[BEFORE](offset, BLOCK_BYTES)
    if before == after:
        lines.append("it is as it was before recovery")
    elif before == predicted:
        lines.append("the model leaves it as it was before recovery")
    where = f"{disk}, byte {offset}"
    return Difference(f"{where}: {place}" if place else where, tuple(lines))


def _stacks_first(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what a hang has left with blocked tasks first, then others, then attributes."""
    sections: list[list[str]] = []
    for line in lines:
        if not sections or not line.startswith((" ", "\t")):
            sections.append([])
        sections[-1].append(line)

    def rank(section: list[str]) -> int:
        is_task = "/task/" in section[0]
        return 0 if is_task and section[0].endswith(" D:") else 1 if is_task else 2

    return tuple(line for section in sorted(sections, key=rank) for line in section)


def _kernel_log(folder: Path) -> tuple[LogLine, ...]:
    for name in _LOGS:
        if lines := _lines_of(folder / name):
            every = marked(lines)
            if len(every) <= _MOST_LOG_LINES:
                return every
            dropped = len(every) - _MOST_LOG_LINES
            return (LogLine(f"[{dropped} lines before: see {name}]"), *every[dropped:])
    return ()


def _lines_of(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(errors="replace").splitlines())
    except OSError:
        return ()
