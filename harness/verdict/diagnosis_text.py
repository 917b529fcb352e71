"""A diagnosis as a page of text, a section for each question that people ask."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from harness.ondisk.superblock import RESYNC_DONE
from harness.recovery.era_differences import EraDifference
from harness.verdict.array_health import DeviceState, Health
from harness.verdict.diagnosis import (
    FASTEST_SEEN_MB_S,
    SLOWEST_SEEN_MB_S,
    JournalFacts,
    LogContents,
    Prediction,
    Ranges,
    bytes_in_words,
    sectors_in_words,
)
from harness.verdict.next_steps import Step
from harness.verdict.suspicions import Suspicion

_WIDTH = 96
_MOST_RANGES = 6
_A_MINUTE = 1 / 60  # in hours


def diagnosis_lines(
    health: Health, journal: JournalFacts | None, found: Sequence[Suspicion],
    steps: Sequence[Step], unknown: Sequence[str],
) -> list[str]:  # fmt: skip
    """Return the page."""
    lines = _section("array", _array(health))
    if journal is not None:
        lines += _section("journal", _contents(journal.contents))
        title = f"what a kernel of era {journal.prediction.era} does"
        lines += _section(title, _prediction(journal.prediction))
        lines += _section("what is lost without the journal", _lost(journal.contents))
        lines += _section("other kernels", _eras(journal.differences))
    lines += _section("suspicious", _suspicious(found))
    lines += _section("what to do", _steps(steps))
    if unknown:
        lines += _section("what cannot be concluded", (_wrap(line, "- ") for line in unknown))
    return lines


def _section(title: str, blocks: Iterable[str]) -> list[str]:
    lines = [title.upper()]
    for block in blocks:
        lines += [f"  {line}" for line in block.splitlines()]
    return [*lines, ""]


def _wrap(text: str, first: str = "", rest: str | None = None) -> str:
    return textwrap.fill(
        text, _WIDTH - 2, initial_indent=first,
        subsequent_indent=" " * len(first) if rest is None else rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _array(health: Health) -> Iterator[str]:
    yield f"{health.uuid} {health.name}"
    yield (
        f"RAID-{health.level} {health.layout}, {health.raid_disks} members of"
        f" {sectors_in_words(health.component_sectors)}, chunk"
        f" {sectors_in_words(health.chunk_sectors)}, metadata 1.{health.minor_version}"
    )
    yield f"size {sectors_in_words(health.array_sectors)}, features: {', '.join(health.features)}"
    for device in health.devices:
        slot = "-" if device.slot is None else str(device.slot)
        state = device.state.value
        if device.state is DeviceState.REBUILDING:
            state += f" (done up to sector {device.rebuilt_sectors})"
        yield f"{slot:>4}  {state:<14}  events {device.events}  {device.label}"
    label = health.journal_label or ""
    events = "" if health.journal_events is None else f"  events {health.journal_events}"
    yield f"   J  {health.journal.value:<14}{events}  {label}".rstrip()
    for image in health.unusable:
        yield f"   ?  {'unusable':<14}  {image.label}"
    if health.absent:
        yield f"no device: slot {', '.join(map(str, health.absent))}"
    if health.not_given:
        yield f"not given: slot {', '.join(map(str, health.not_given))}"
    synced = "in sync" if health.resync_offset == RESYNC_DONE else f"up to {health.resync_offset}"
    yield f"parity: {synced}"


def _contents(contents: LogContents) -> Iterator[str]:
    yield f"log of {sectors_in_words(contents.size_sectors)}, tail at sector {contents.tail}"
    if contents.end is None:
        yield _wrap(f"cannot be followed: {contents.ended_because or 'see below'}")
        return
    share = 100 * contents.live_sectors / contents.size_sectors
    yield (
        f"live: {contents.live_sectors} sectors, {sectors_in_words(contents.live_sectors)},"
        f" {share:.1f} % of the ring"
    )
    yield (
        f"{contents.metas} meta blocks ({contents.empty_metas} empty, {contents.dropped_metas}"
        " dropped)"
    )
    yield (
        f"{contents.data_pages} data pages, {contents.parity_pages} parity pages,"
        f" {contents.flush_payloads} FLUSHed stripes named"
    )
    for count, words in (
        (contents.data_parity_stripes, "data-parity: data and parity, to be written to members"),
        (contents.data_only_stripes, "data-only: data whose parity was never logged (write-back)"),
        (contents.parity_only_stripes, "parity-only: skipped by recovery"),
        (contents.flushed_stripes, "flushed: on the members, says the log"),
    ):
        yield f"{count:>9} stripes {words}"
    yield _wrap(f"scan ends at sector {contents.end}: {contents.ended_because}")


def _prediction(prediction: Prediction) -> Iterator[str]:
    if prediction.failure is not None:
        yield _wrap(f"it does not come to an end: {prediction.failure}")
        return
    if prediction.creates_new_log is not None:
        yield _wrap(f"the block at the tail is no meta block: {prediction.creates_new_log}")
    for number, step in enumerate(prediction.steps, 1):
        yield _wrap(step, f"{number}. ")
    if prediction.message is None:
        yield "it prints nothing"
    else:
        yield f'it prints "md/raid:mdX: {prediction.message}"'
    work = prediction.work
    if prediction.creates_new_log is not None:
        return
    yield (
        f"work: {work.pages_read} + {work.pages_written} pages of 4096 bytes read and written"
        f" = {work.megabytes:.1f} MB"
    )
    low, high = work.hours_seen
    if high > _A_MINUTE:
        yield _wrap(
            f"users saw {SLOWEST_SEEN_MB_S} to {FASTEST_SEEN_MB_S} MB/s (linux-raid, 2020), which"
            f" would be {60 * low:.0f} to {60 * high:.0f} minutes; no forecast for your devices"
        )
    yield (
        f"stripe cache: {work.peak_stripes} held at the peak, size {work.stripe_cache_size}"
        + (f", grown to {work.grown_to}" if work.grown_to > work.stripe_cache_size else "")
        + (f", {work.early_replays} stripes written early" if work.early_replays else "")
    )


def _lost(contents: LogContents) -> Iterator[str]:
    if not (contents.with_parity or contents.data_only):
        yield (
            "nothing that recovery would have brought to the array"
            if contents.end is not None else "cannot be told: the log cannot be followed"
        )  # fmt: skip
        return
    if contents.data_only:
        yield _wrap(
            f"{bytes_in_words(contents.bytes_data_only)} in data-only stripes: acknowledged data"
            " that exists in the log alone. Lost for good, the array goes back to older data"
            f" there. They are {_where(contents.data_only)}"
        )
    if contents.with_parity:
        acknowledged = (
            " The array was in write-back mode, so acknowledged data may be among it."
            if contents.was_write_back else ""
        )  # fmt: skip
        yield _wrap(
            f"{bytes_in_words(contents.bytes_with_parity)} in data-parity stripes: may be on the"
            " members wholly, in part or not at all, parity likewise; where it is in part, a"
            " member that is lost later cannot be rebuilt there (the write hole)."
            f"{acknowledged} They are {_where(contents.with_parity)}"
        )


def _where(ranges: Ranges) -> str:
    shown = ", ".join(
        f"{start}+{length} ({bytes_in_words(start * 512)}, {sectors_in_words(length)} long)"
        for start, length in ranges[:_MOST_RANGES]
    )
    more = len(ranges) - _MOST_RANGES
    rest = f" and {more} more ranges (--json has them)" if more > 0 else ""
    return f"at array sectors {shown}{rest}"


def _eras(differences: Sequence[EraDifference]) -> Iterator[str]:
    if not differences:
        yield "every era of the recovery code leaves the same"
    for difference in differences:
        yield _wrap(f"era {difference}", "", "    ")
    if differences and not any(d.members or d.undefined for d in differences):
        yield "the members end up the same on all of them"


def _suspicious(found: Sequence[Suspicion]) -> Iterator[str]:
    if not found:
        yield "nothing"
    for one in found:
        yield _wrap(f"{one.severity.value.upper()} {one.name}: {one.explanation}", "", "    ")


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        yield _wrap(step.when, f"{number}. ")
        for command in step.commands:
            yield f"     {command}"
        yield _wrap(f"costs: {step.cost}", "   ")
