"""A ground for fuzzing without a guest: the array is the independent writer's."""

from __future__ import annotations

from functools import cache

from harness.campaign.fuzzing.ground import Ground, ground_of
from harness.crash.content import DiskContent
from harness.md.shape import JOURNAL_NAME, KIB, MIB, Shape, member_name
from harness.recovery.layout import Level
from testcases.journal_writer import ArrayImages

SHAPE = Shape(
    component_bytes=2 * MIB, journal_bytes=4 * MIB, chunk_bytes=16 * KIB, guard_bytes=64 * KIB
)
RAID6 = Shape(
    level=Level.RAID6, members=5, component_bytes=MIB // 2, journal_bytes=MIB,
    chunk_bytes=8 * KIB, guard_bytes=64 * KIB,
)  # fmt: skip


@cache
def ground(shape: Shape = SHAPE) -> Ground:
    """Return the ground of a shape."""
    images = ArrayImages(
        level=int(shape.level), layout=shape.layout, raid_disks=shape.members,
        chunk_sectors=shape.chunk_bytes // 512, data_sectors=shape.component_bytes // 512,
        log_sectors=(shape.journal_bytes + shape.guard_bytes) // 512,
    )  # fmt: skip
    made = {member_name(slot): image for slot, image in images.member_images().items()}
    made[JOURNAL_NAME] = images.journal_image()
    contents = {}
    for name, image in made.items():
        contents[name] = DiskContent()
        contents[name].write(0, image[: 2048 * 512])
    return ground_of(shape, contents)
