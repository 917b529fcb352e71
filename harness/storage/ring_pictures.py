"""The map of a journal that lies in image files."""

from __future__ import annotations

from pathlib import Path

from harness.ondisk.crc import uuid_checksum
from harness.recovery.era import Era
from harness.recovery.log import ring_of
from harness.recovery.members import format_uuid
from harness.recovery.plan import RecoveryPlan
from harness.storage.array_files import ArrayFiles
from harness.storage.plans import LiveMetas
from harness.storage.ring_blocks import read_ring
from harness.verdict.ring_map import Subject, ring_map
from harness.verdict.ring_regions import Rest, live_log


def draw_journal(files: ArrayFiles, plan: RecoveryPlan, era: Era) -> str:
    """Return the map as the text of an SVG file; the ring is read as kernels of *era* do."""
    array, ring, metas = files.array, ring_of(files.journal.data_size), LiveMetas(files, era)
    name = array.superblocks[array.freshest].set_name.decode(errors="replace")
    subject = Subject(
        name=name, uuid=format_uuid(array.set_uuid), geometry=array.geometry,
        journal=Path(files.journal_label).name, ring=ring,
        journal_tail=files.journal.journal_tail, era=era.name,
    )  # fmt: skip
    rest = Rest(live_log(metas, ring), plan, ring, seed=uuid_checksum(array.set_uuid))
    regions = rest.regions(read_ring(files, rest.position, rest.sectors))
    return ring_map(subject, metas, plan, rest, regions)
