"""Pages over the array's edge, or behind it: what recovery writes of them, what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.campaign.exploring.oracles import NONE, Oracles
from harness.campaign.fuzzing.ground import fuzzed_state, state_with
from harness.campaign.fuzzing.subject import look_at
from harness.fuzzing.journal import Journal, WrittenMeta
from harness.fuzzing.model_array import first_contents
from harness.fuzzing.payloads import Payload
from harness.fuzzing.site import noise, stripe_payloads
from harness.ondisk.units import ArraySector
from harness.recovery.era import NEWEST_ERA
from harness.storage.array_files import read_array
from harness.storage.replay import replay_to
from harness.verdict.predicted_state import PredictedState
from testcases.journal_writer import Data, Parity
from testcases.unit.fuzzed_ground import SHAPE, ground
from testcases.unit.written_arrays import WrittenArray, array_of
from testcases.unit.written_arrays import noise as any_page

DATA_AT = 2048  # sectors: where a member's data begins
ARRAY = replace(fuzzed_state(ground(), 7, 0).array, missing=frozenset(), log_sectors=2048)


def predicted(payloads: tuple[Payload, ...]) -> PredictedState:
    meta = WrittenMeta(seq=7, position=0, payloads=payloads)
    journal = Journal("one meta block", "hostile", [], tail=0, metas=[meta])
    state = state_with(ground(), 0, ARRAY, journal)
    look = look_at(state, SHAPE.disk_sizes, NEWEST_ERA, Oracles(NONE), seed=1, ticket=0)
    assert look.predicted is not None
    return look.predicted


def over_the_edge(stripe: int) -> tuple[int, tuple[Payload, ...]]:
    at = ARRAY.sectors_of(stripe)[0]
    return at, stripe_payloads(ARRAY, {at: noise(1)}, first_contents)


def page_of(state: PredictedState, slot: int, stripe: int) -> bytes:
    return state.after[SHAPE.member_names[slot]].read((DATA_AT + stripe) * 512, 4096)


def test_a_page_over_the_edge_is_written_whole_where_the_disk_has_room() -> None:
    stripe = ARRAY.member_sectors - 7
    at, payloads = over_the_edge(stripe)
    state = predicted(payloads)
    device = ARRAY.geometry.place(ArraySector(at)).device
    assert page_of(state, device, stripe) == noise(1)
    assert {outside.sector for outside in state.outside} == {stripe}
    assert at % 8 == 1


def test_a_data_only_stripe_behind_the_array_is_written_out_as_well() -> None:
    stripe = ARRAY.member_sectors + 16
    at, (data, _) = over_the_edge(stripe)
    state = predicted((data,))
    device = ARRAY.geometry.place(ArraySector(at)).device
    assert page_of(state, device, stripe) == noise(1)
    assert state.plan.data_only


def test_what_lies_behind_the_disks_is_left_out() -> None:
    stripe = ARRAY.room_sectors - 7
    _, payloads = over_the_edge(stripe)
    state = predicted(payloads)
    assert len(state.outside) == 2
    for name in SHAPE.member_names:
        assert state.after[name].blocks == state.before[name].blocks


def test_replay_writes_of_a_page_over_the_edge_what_lies_inside(tmp_path: Path) -> None:
    """It changes nothing outside of the array, whatever the kernel does."""
    images = array_of(raid_disks=3)
    at = images.data_sectors * 2 - 7
    array = WrittenArray(images)
    page, parity = any_page(-1), any_page(-2)
    array.log(Data(at, [page]), Parity(images.data_sectors - 7, [parity]))
    paths = array.store(tmp_path / "in")
    roomy = images.member_images({n: {"data_size": images.data_sectors + 8} for n in range(3)})
    for slot, image in roomy.items():
        (tmp_path / "in" / f"member{slot}.img").write_bytes(image + bytes(4096))
    replay_to(read_array(paths), tmp_path / "out", era=NEWEST_ERA)
    changed = 0
    for slot, old in roomy.items():
        new = (tmp_path / "out" / f"member{slot}.img").read_bytes()
        assert new[len(old) :] == bytes(4096)
        last = 16 * 512 + (images.data_sectors - 7) * 512
        assert new[:last] == old[:last]
        changed += new[last : len(old)] in (page[: 7 * 512], parity[: 7 * 512])
    assert changed == 2
