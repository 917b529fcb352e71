"""Oracles on an array that has been recovered: what md reads of it and counts in it, whole and
degraded, and what an interrupted recovery comes to (DESIGN.md section 6, oracles 5 and 6).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, ArraySector, StripeSector
from harness.verdict.blocks import count_differing_bytes, describe_place
from harness.verdict.durability import Members, wrong_parities
from harness.verdict.reason import few_of_each_kind
from harness.verdict.verdict import Finding, Judgement

READ_BACK, CHECK, DEGRADED = "read back", "check", "degraded"
SECOND, INTERRUPTED = "second recovery", "interrupted recovery"
_MOST_FINDINGS = 3


def judge_read_back(
    oracle: str, members: Members, pages: Sequence[int], read: Sequence[int], *, without: str = ""
) -> Judgement:
    """Judge what md read against what the members hold.

    Args:
        oracle: how it is called here.
        members: those that are there; the pages of others follow from these.
        pages: numbers of the array's pages that were read.
        read: zlib.crc32 of each.
        without: which disks are not there, in words.
    """
    there = f" without {without}" if without else ""
    findings = []
    for page, found in zip(pages, read, strict=True):
        sector = ArraySector(page * BLOCK_SECTORS)
        if found != zlib.crc32(members.array_page(sector)):
            stripe = members.geometry.place(sector).sector
            what = f"array sector {sector} is read otherwise{there} than the members have it"
            findings.append(Finding(oracle, what, (), members.facts_of(stripe)))
    return Judgement(
        oracle,
        (f"{len(pages)} pages read back{there}",),
        few_of_each_kind(findings, _MOST_FINDINGS),
    )


def judge_check(members: Members, sectors: int, mismatch_sectors: int) -> Judgement:
    """Compare md's own count of stripes that are not in parity with ours.

    That there are none at all is for `judge_redundancy`; this is about whether md sees the same.
    """
    wrong = [
        stripe
        for stripe in range(0, sectors, BLOCK_SECTORS)
        if any(wrong_parities(members, StripeSector(stripe)))
    ]
    wanted = len(wrong) * BLOCK_SECTORS
    findings: tuple[Finding, ...] = ()
    if mismatch_sectors != wanted:
        what = (
            f"md's check counts {mismatch_sectors} sectors that are not in parity, Python {wanted}"
        )
        findings = (Finding(CHECK, what),)
    compared = f"md's check of {sectors} sectors of each member: {mismatch_sectors} not in parity"
    return Judgement(CHECK, (compared,), findings)


def judge_same_members(oracle: str, members: Members, wanted: Members, *, what: str) -> Judgement:
    """Judge that data areas are the same as in *wanted*; *what* says when, for a finding."""
    findings = few_of_each_kind(_different(oracle, members, wanted, what), _MOST_FINDINGS)
    size = members.geometry.component_sectors * SECTOR_BYTES
    compared = f"data areas of {len(wanted.contents)} members, {size} bytes each, {what}"
    return Judgement(oracle, (compared,), findings)


def _different(oracle: str, members: Members, wanted: Members, what: str) -> Iterator[Finding]:
    last = members.geometry.component_sectors
    for slot in sorted(wanted.contents):
        if slot not in members.contents:
            gone = f"member {slot} is no longer part of the array {what}"
            yield Finding(oracle, gone, (), members.facts_of(StripeSector(0)))
            continue
        mine, theirs = members.contents[slot], wanted.contents[slot]
        for block in sorted(mine.differing(theirs)):
            sector = block * BLOCK_SECTORS - members.data_offset
            if not 0 <= sector < last:
                continue
            place = describe_place(members.geometry, slot, StripeSector(sector))
            count = count_differing_bytes(mine.block(block), theirs.block(block))
            facts = members.facts_of(StripeSector(sector))
            yield Finding(
                oracle, f"member {slot}: {place} is not the same {what}",
                (f"{count} bytes of the page differ",), facts,
            )  # fmt: skip
