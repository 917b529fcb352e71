"""The ground of fuzzing: an array as it was made, guards around it, and a journal of its own."""

from __future__ import annotations

from harness.campaign.exploring.oracles import NONE, Oracles
from harness.campaign.fuzzing.ground import FuzzedState, fuzzed_state
from harness.campaign.fuzzing.subject import look_at
from harness.md.shape import JOURNAL_NAME, Shape
from harness.recovery.era import NEWEST_ERA
from harness.recovery.members import put_together
from harness.verdict.guards import guarded_disks
from harness.verdict.predicted_state import superblocks_of
from testcases.unit.fuzzed_ground import RAID6, SHAPE, ground


def states(shape: Shape = SHAPE, count: int = 40) -> list[FuzzedState]:
    return [fuzzed_state(ground(shape), 7, number) for number in range(count)]


def test_every_guarded_byte_holds_something_that_is_nowhere_else() -> None:
    state = next(state for state in states() if not state.array.missing)
    superblocks = superblocks_of(state.contents, SHAPE.disk_sizes)
    guarded = guarded_disks(put_together(superblocks), SHAPE.disk_sizes)
    pages: list[bytes] = []
    for name, disk in guarded.items():
        for block in range(SHAPE.disk_sizes[name] // 4096):
            at = block * 4096
            if not any(area.start <= at < area.end for area in disk.areas):
                pages.append(state.contents[name].block(block))
    assert len(pages) > 4 * 256
    # The list of bad blocks, here none, is not filled: md would believe it.
    assert len(set(pages)) == len(pages)


def test_every_array_is_one_that_the_model_can_put_together() -> None:
    for shape in (SHAPE, RAID6):
        for state in states(shape):
            superblocks = superblocks_of(state.on_disks_there, shape.disk_sizes)
            array = put_together(superblocks)
            assert array.journal == JOURNAL_NAME
            journal = superblocks[JOURNAL_NAME]
            assert journal.journal_tail == state.journal.tail
            assert journal.data_size == state.array.log_sectors
            assert set(array.missing) == state.array.missing


def test_logs_of_all_sizes_and_missing_members_occur() -> None:
    every = states(RAID6, 120)
    assert len({state.array.log_sectors for state in every}) > 3
    assert {len(state.array.missing) for state in every} == {0, 1, 2}


def test_a_state_is_the_same_again_and_leaves_the_ground_as_it_was() -> None:
    before = {name: dict(content.blocks) for name, content in ground().contents.items()}
    one, two = fuzzed_state(ground(), 7, 3), fuzzed_state(ground(), 7, 3)
    assert {n: c.blocks for n, c in one.contents.items()} == {
        n: c.blocks for n, c in two.contents.items()
    }
    assert before == {name: content.blocks for name, content in ground().contents.items()}


def test_what_cannot_be_told_goes_before_the_kernel_all_the_same() -> None:
    looks = [
        look_at(state, SHAPE.disk_sizes, NEWEST_ERA, Oracles(NONE), seed=7, ticket=state.number)
        for state in states(count=120)
    ]
    assert all(look.job is not None for look in looks)
    assert sum(look.predicted is not None for look in looks) > 100
