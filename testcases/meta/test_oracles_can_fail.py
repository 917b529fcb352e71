"""One real recovery, tampered with in every way that an oracle exists for: each must turn red."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.campaign.crash import CrashRun
from harness.campaign.judging import Recorded, Recovered, judge
from harness.crash.trace import Issue
from harness.hosts.host import CommandResult
from harness.md.shape import JOURNAL_NAME, Shape
from harness.ondisk.crc import uuid_checksum
from harness.ondisk.log import build_meta_block
from harness.ondisk.superblock import with_journal_tail
from harness.ondisk.units import BLOCK_BYTES, SECTOR_BYTES, LogSector
from harness.recovery.plan import StripeReplay
from harness.storage.images import read_superblock
from harness.storage.plans import plan_of
from harness.verdict.verdict import Outcome, Verdict
from testcases.lab import Lab, assert_agrees

pytestmark = pytest.mark.guest


@dataclass(frozen=True)
class Case:
    """A judged run whose images can be copied, tampered with, and judged again."""

    run: CrashRun
    folder: Path

    def judge_tampered(
        self,
        place: Path,
        tamper: Callable[[Path], None] = lambda _: None,
        *,
        recovered: Recovered | None = None,
        recorded: Recorded | None = None,
    ) -> Verdict:
        """Judge a copy of the images after *tamper* had its way with them."""
        folder = place / "tampered"
        shutil.copytree(self.folder, folder)
        tamper(folder)
        run = self.run
        return judge(
            run.before, run.replayed, run.metas, recovered or run.recovered,
            recorded or Recorded(run.recording.trace, run.state.cut, run.recording.workload),
            folder,
        )  # fmt: skip


@pytest.fixture(scope="module")
def case(lab: Lab, kernel: str) -> Case:
    options = lab.options(kernel, Shape(), seed=61)
    recording = lab.record(options)
    for share in (0.8, 0.65, 0.5, 0.35, 0.9):
        run = lab.cut(options, recording, share)
        assert_agrees(run)
        case = Case(run, Path(next(iter(run.before.paths.values()))).parent.parent)
        # Just behind a move of the tail everything is on the members: such a cut shows nothing.
        if run.verdict.outcome is Outcome.AGREES and next(changed_pages(case), None):
            return case
    raise AssertionError("recovery changed no page after any of these cuts")


def test_untouched_it_agrees(case: Case, tmp_path: Path) -> None:
    assert case.judge_tampered(tmp_path).outcome is Outcome.AGREES


def test_a_flipped_byte_in_recovered_data_is_named(case: Case, tmp_path: Path) -> None:
    stripe, device, data = replayed_page(case, parity=False)

    def tamper(folder: Path) -> None:
        flip(folder / f"after/member{device}.img", member_offset(case, device, stripe) + 700)

    verdict = case.judge_tampered(tmp_path, tamper)
    assert_red(verdict, "differential", f"member {device} ", f"data of array sector {data}")
    assert "damaged sector of the workload" in details(verdict)
    assert "write " in details(verdict)


def test_wrong_parity_is_named(case: Case, tmp_path: Path) -> None:
    stripe, device, _ = replayed_page(case, parity=True)

    def tamper(folder: Path) -> None:
        flip(folder / f"after/member{device}.img", member_offset(case, device, stripe))

    verdict = case.judge_tampered(tmp_path, tamper)
    assert_red(verdict, "differential", f"member {device} ", f"P of stripe {stripe}")


def test_a_flipped_byte_where_nothing_was_replayed_is_named(case: Case, tmp_path: Path) -> None:
    last = case.run.before.array.geometry.component_sectors - 1
    at = member_offset(case, 1, last) + 511

    def tamper(folder: Path) -> None:
        flip(folder / "after/member1.img", at)

    assert_red(
        case.judge_tampered(tmp_path, tamper), "differential", "member 1 ", f"sector {last - 7}"
    )


def test_a_dropped_replay_write_is_named(case: Case, tmp_path: Path) -> None:
    """Put one page back to what it was before recovery, as if the kernel had not replayed it."""
    for number, (stripe, name, at, old) in enumerate(itertools.islice(changed_pages(case), 3)):
        folder = tmp_path / str(number)
        folder.mkdir()

        def tamper(tampered: Path, name: str = name, at: int = at, old: bytes = old) -> None:
            write_at(tampered / "after" / name, at, old)

        assert_red(case.judge_tampered(folder, tamper), "differential", f"stripe {stripe}")


def test_a_wrong_end_position_is_named(case: Case, tmp_path: Path) -> None:
    """The empty meta block one block further, and the tail on it, all checksums right."""
    end = case.run.replayed.plan.empty_meta
    assert end is not None
    assert end.seq is not None
    wrong = LogSector(end.position + 8)
    block = build_meta_block(
        seed=uuid_checksum(case.run.before.array.set_uuid), seq=end.seq, position=wrong
    )

    def tamper(folder: Path) -> None:
        path = folder / "after/journal.img"
        start = case.run.before.journal.data_offset * SECTOR_BYTES
        write_at(path, start + end.position * SECTOR_BYTES, bytes(BLOCK_BYTES))
        write_at(path, start + wrong * SECTOR_BYTES, block)
        superblock = read_superblock(path)
        write_at(path, superblock.at * SECTOR_BYTES, with_journal_tail(superblock, wrong))

    verdict = case.judge_tampered(tmp_path, tamper)
    assert_red(verdict, "differential", f"journal_tail is {wrong}")
    assert any(f"log sector {wrong}" in finding.what for finding in verdict.findings)


def test_a_superblock_field_that_must_not_change_is_named(case: Case, tmp_path: Path) -> None:
    def tamper(folder: Path) -> None:
        flip(folder / "after/member2.img", 4096 + 208)  # resync_offset: a resync would follow

    assert_red(case.judge_tampered(tmp_path, tamper), "differential", "resync_offset")


def test_a_write_outside_data_and_superblock_is_named(case: Case, tmp_path: Path) -> None:
    def tamper(folder: Path) -> None:
        flip(folder / "after/member0.img", 300 * SECTOR_BYTES)

    assert_red(case.judge_tampered(tmp_path, tamper), "differential", "outside superblock and data")


def test_another_count_in_the_kernels_log_is_red(case: Case, tmp_path: Path) -> None:
    log = tuple(
        line.replace("recovering 0 data-only", "recovering 1 data-only")
        for line in case.run.recovered.kernel_log
    )
    verdict = case.judge_tampered(tmp_path, recovered=replace(case.run.recovered, kernel_log=log))
    assert_red(verdict, "journal truth", "the kernel said")


def test_a_silent_kernel_is_red(case: Case, tmp_path: Path) -> None:
    verdict = case.judge_tampered(tmp_path, recovered=replace(case.run.recovered, kernel_log=()))
    assert_red(verdict, "journal truth", "the kernel said nothing")


def test_a_journal_that_holds_what_nobody_wrote_is_red(case: Case, tmp_path: Path) -> None:
    recording = case.run.recording
    other = replace(recording.workload, seed=recording.workload.seed + 1)
    verdict = case.judge_tampered(
        tmp_path, recorded=Recorded(recording.trace, case.run.state.cut, other)
    )
    assert_red(verdict, "journal truth", "nothing that the workload wrote")


def test_a_kernel_complaint_is_red(case: Case, tmp_path: Path) -> None:
    log = (*case.run.recovered.kernel_log, "[    9.000000] WARNING: CPU: 0 PID: 1 at raid5.c:1")
    verdict = case.judge_tampered(tmp_path, recovered=replace(case.run.recovered, kernel_log=log))
    assert_red(verdict, "alive", "the kernel complains")


def test_a_complaint_while_writing_is_red(case: Case, tmp_path: Path) -> None:
    verdict = case.judge_tampered(
        tmp_path, recorded=replace(recorded(case), kernel_log=("[ 1.0] WARNING: CPU: 0 PID: 1",))
    )
    assert_red(verdict, "alive", "the kernel complains while writing")


def test_a_member_write_without_its_record_is_red(case: Case, tmp_path: Path) -> None:
    """Leave out of the trace what went to the log in the middle of the workload."""
    trace = case.run.recording.trace
    logged = journal_writes(case)
    kept = tuple(event for event in trace.events if event is not logged[len(logged) // 2])
    verdict = case.judge_tampered(
        tmp_path, recorded=replace(recorded(case), trace=replace(trace, events=kept))
    )
    assert_red(verdict, "journal truth")
    assert any("without a record of that page" in f.what for f in verdict.findings)
    assert any("does not follow on" in f.what for f in verdict.findings)


def test_a_meta_block_that_was_overtaken_by_the_next_one_is_no_gap(
    case: Case, tmp_path: Path
) -> None:
    """Requests reach a disk in any order: the power may go between the later and the earlier."""
    trace = case.run.recording.trace
    logged = journal_writes(case)
    late = logged[len(logged) // 2]
    events = [event for event in trace.events if event is not late]
    last = events[-1].sequence
    moved = replace(trace, events=(*events, replace(late, sequence=last + 1)))
    verdict = case.judge_tampered(tmp_path, recorded=replace(recorded(case), trace=moved))
    # That the members were written before is for the write ordering to object to.
    assert not any("does not follow on" in f.what for f in verdict.findings)


def test_a_meta_block_with_a_wrong_checksum_is_red_wherever_it_is(
    case: Case, tmp_path: Path
) -> None:
    trace = case.run.recording.trace
    damaged = journal_writes(case)[1]
    payload = bytearray(damaged.payload)
    payload[4] ^= 1
    events = tuple(
        replace(damaged, payload=bytes(payload)) if event is damaged else event
        for event in trace.events
    )
    verdict = case.judge_tampered(
        tmp_path, recorded=replace(recorded(case), trace=replace(trace, events=events))
    )
    assert_red(verdict, "journal truth", "begins as a meta block", "checksum")


def test_a_hang_in_assembly_is_red_with_its_stack(case: Case, tmp_path: Path) -> None:
    hung = CommandResult("guest", ("mdadm", "--assemble"), None, "", 120.0, "md_start\nr5l_start")
    recovered = replace(case.run.recovered, assembled=hung, settled=False, stopped=None)
    verdict = case.judge_tampered(tmp_path, recovered=recovered)
    assert_red(verdict, "alive", "hangs")
    assert "r5l_start" in details(verdict)


def test_an_array_that_does_not_assemble_is_red(case: Case, tmp_path: Path) -> None:
    refused = CommandResult("guest", ("mdadm", "--assemble"), 1, "mdadm: no", 0.1)
    recovered = replace(case.run.recovered, assembled=refused, settled=False, stopped=None)
    assert_red(case.judge_tampered(tmp_path, recovered=recovered), "available", "mdadm: no")


def test_an_array_that_does_not_stop_is_red(case: Case, tmp_path: Path) -> None:
    busy = CommandResult("guest", ("mdadm", "--stop"), 1, "mdadm: fail to stop", 0.1)
    recovered = replace(case.run.recovered, stopped=busy)
    assert_red(case.judge_tampered(tmp_path, recovered=recovered), "alive", "fail to stop")


def assert_red(verdict: Verdict, oracle: str, *words: str) -> None:
    assert verdict.outcome is Outcome.DIFFERS
    assert verdict.exit_status == 1
    first = verdict.findings[0]
    assert first.oracle == oracle
    for word in words:
        assert word in first.what, first


def details(verdict: Verdict) -> str:
    return "\n".join(verdict.findings[0].details)


def changed_pages(case: Case) -> Iterator[tuple[int, str, int, bytes]]:
    """Yield stripe, image, offset and old content of each page that recovery changed."""
    for replay in replays(case):
        for device, _ in replay.pages:
            name = f"member{device}.img"
            at = member_offset(case, device, replay.stripe)
            old = read_at(case.folder / "before" / name, at)
            if old != read_at(case.folder / "after" / name, at):
                yield replay.stripe, name, at, old


def recorded(case: Case) -> Recorded:
    recording = case.run.recording
    return Recorded(recording.trace, case.run.state.cut, recording.workload, recording.kernel_log)


def journal_writes(case: Case) -> list[Issue]:
    """Return the writes of the workload that begin with a meta block."""
    recording = case.run.recording
    journal = recording.trace.disk_index(JOURNAL_NAME)
    return [
        event
        for event in recording.trace.events
        if isinstance(event, Issue)
        and event.disk == journal
        and recording.first_event <= event.sequence < case.run.state.cut
        and event.payload.startswith(bytes.fromhex("09c53364"))
    ]


def replays(case: Case) -> tuple[StripeReplay, ...]:
    return plan_of(case.run.before, case.run.replayed.era).replays


def replayed_page(case: Case, *, parity: bool) -> tuple[int, int, int]:
    """Return stripe, device and array sector (-1 for parity) of one page that was replayed."""
    geometry = case.run.before.array.geometry
    for replay in replays(case):
        for device, _ in replay.pages:
            sector = geometry.array_sector(device, replay.stripe)
            if (sector is None) == parity:
                return replay.stripe, device, -1 if sector is None else sector
    raise AssertionError("nothing was replayed")


def member_offset(case: Case, device: int, sector: int) -> int:
    (label, *_) = case.run.before.array.members[device]
    return (case.run.before.array.superblocks[label].data_offset + sector) * SECTOR_BYTES


def flip(path: Path, offset: int) -> None:
    write_at(path, offset, bytes([read_at(path, offset, 1)[0] ^ 1]))


def read_at(path: Path, offset: int, length: int = BLOCK_BYTES) -> bytes:
    with path.open("rb") as file:
        return os.pread(file.fileno(), length, offset)


def write_at(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), content, offset)
