"""The evidence of a red case: the timeline, what became of each write, blocks in words."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.campaign.reports.exploration_exhibits import exhibit_of_smallest
from harness.campaign.reports.looking import look_at, marked
from harness.campaign.reports.page_svg import RING_DEFINITIONS, RING_STYLE, for_a_page
from harness.campaign.reports.scene import (
    Scene,
    in_words,
    scene_of_crash,
    scene_of_state,
    shown_events,
    shown_requests,
)
from harness.campaign.reports.timeline import draw_timeline
from harness.crash.states import Fate, Loss, crash_state, fates
from harness.crash.strategies import ChosenState
from harness.crash.trace import (
    Cache,
    Completion,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    TraceDisk,
)
from harness.recovery.era import NEWEST_ERA
from harness.verdict.ring_drawing import STYLE
from testcases.unit.test_walk import END, cuts_of, drawn_trace
from testcases.unit.written_arrays import WrittenArray, array_of, noise, store

WRITE, FLUSH = Operation.WRITE, Operation.FLUSH


def nowhere(_disk: str, _offset: int) -> str:
    return ""


def issue(
    sequence: int, *, length: int = 1024, flags: int = 0, kind: Operation = WRITE, disk: int = 0
) -> Issue:
    payload = bytes([sequence]) * length if kind is WRITE else b""
    at = 4096 * sequence
    return Issue(sequence, sequence, disk, kind, Flag(flags), at, len(payload), payload)


def small_trace() -> Trace:
    """Return a trace of two disks with caches, and every fate that a write can have at 90."""
    disks = tuple(
        TraceDisk(name, 1 << 20, Cache.WRITE_BACK, 512) for name in ("member0", "journal")
    )
    events: list[Event] = [
        issue(10), Completion(11, 10, 0, 0),  # durable by the flush
        issue(20, kind=FLUSH), Completion(21, 20, 0, 0),
        issue(30, flags=Flag.FUA), Completion(31, 30, 0, 0),  # durable by itself
        Mark(35, "flushed 1"),
        issue(40), Completion(41, 40, 0, 0),  # in the cache
        issue(50, disk=1),  # in flight
        issue(60, length=2048, disk=1), Completion(61, 60, 1, 0),  # in the cache, to be torn
        issue(65, disk=1), Completion(66, 65, 1, 5),  # failed
        issue(70, kind=FLUSH),
        issue(95), Completion(96, 95, 0, 0),
    ]  # fmt: skip
    return Trace(disks, tuple(events))


def became(scene: Scene) -> dict[int, tuple[str, bool]]:
    requests = shown_requests(scene, shown_events(scene))
    told = in_words(scene, requests, nowhere)
    return {
        request.issue.sequence: (words.fate, words.is_lost)
        for request, words in zip(requests, told, strict=True)
    }


def test_what_became_of_each_write_is_told_as_the_state_has_it() -> None:
    trace = small_trace()
    cut = next(cut for cut in cuts_of(trace) if cut.sequence == 71 or cut.sequence > 66)
    cut = replace(cut, sequence=90)
    chosen = ChosenState(0, cut, {(1, 1): ((4096 * 60, 512),)})
    found = became(scene_of_state(trace, chosen))
    assert found == {
        10: ("durable", False), 20: ("ended", False), 30: ("durable", False),
        40: ("LOST: completed, in a volatile cache", True),
        50: ("LOST: issued, not completed", True),
        60: ("TORN: 512 of 2048 bytes survive; completed, in a volatile cache", True),
        65: ("FAILED: EIO", True), 70: ("never ends", False),
        95: ("never happens: the power is gone", False),
    }  # fmt: skip


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("seed", range(4))
def test_a_crash_and_its_scene_say_the_same_of_every_write(seed: int, loss: Loss) -> None:
    trace = drawn_trace(seed)
    cut = random.Random(seed).randrange(10, 110)
    state = crash_state(trace, cut, loss, seed=seed)
    scene = scene_of_crash(trace, state)
    open_writes = {
        each.issue.request for disk in fates(trace, cut) for each in disk
        if each.fate is not Fate.DURABLE
    }  # fmt: skip
    assert set(scene.open_writes) == open_writes
    lost = sum(not each.survives for each in scene.open_writes.values())
    assert lost == state.lost_writes


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cut", [1, 60, END, None])
def test_a_timeline_is_well_formed_and_has_a_lane_for_each_disk(seed: int, cut: int | None) -> None:
    trace = drawn_trace(seed)
    if cut is None:
        scene = Scene(trace=trace, cut=None)
    else:
        scene = scene_of_crash(trace, crash_state(trace, cut, Loss.RANDOM, seed=seed))
    picture, requests = draw_timeline(scene, nowhere)
    drawing = ET.fromstring(picture.svg)
    assert len(drawing.findall("rect[@class='lane']")) == len(trace.disks)
    bars = [g for g in drawing.findall("g") if g.get("class") != "said"]
    assert len(bars) == len(requests)
    assert (drawing.find("path[@class='cut']") is not None) == (cut is not None)
    for bar in bars:
        box = bar.find("rect")
        assert box is not None
        assert 0 <= float(box.get("x", "-1")) < 1160
        assert float(box.get("x", "0")) + float(box.get("width", "0")) <= 1160


def test_hostile_marks_do_not_break_a_timeline() -> None:
    trace = small_trace()
    mark = Mark(36, "</title></svg><script>alert(1)</script>\x00\udce9")
    trace = replace(trace, events=(*trace.events[:6], mark, *trace.events[6:]))
    picture, _ = draw_timeline(Scene(trace=trace, cut=None), nowhere)
    ET.fromstring(picture.svg)
    assert "<script" not in picture.svg


def test_an_empty_trace_is_drawn_as_well() -> None:
    trace = replace(small_trace(), events=())
    picture, requests = draw_timeline(Scene(trace=trace, cut=None), nowhere)
    ET.fromstring(picture.svg)
    assert requests == []


# Images.


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return a folder as `crash` keeps it: one stripe recovered, with three bytes wrong."""
    array = WrittenArray(array_of())
    array.write({0: noise(1)})
    array.store(tmp_path / "before")
    after = array.members_after()
    journal = array.journal_after()
    store(tmp_path / "predicted", {**after, "journal.img": journal})
    wrong = bytearray(after["member0.img"])
    wrong[16 * 512 + 5] ^= 1
    log = bytearray(journal)
    at = log.rindex((0x6433C509).to_bytes(4, "little"))
    log[at + 20] ^= 1
    store(tmp_path / "after", {**after, "member0.img": bytes(wrong), "journal.img": bytes(log)})
    (tmp_path / "dmesg-recovery.txt").write_text(
        "[1] clocksource: tsc\n[2] md/raid:md0: recovering\n[3] WARNING: CPU: 0 \udce9\n",
        errors="surrogateescape",
    )
    return tmp_path


def test_a_block_that_is_not_as_predicted_is_told_in_words(kept: Path) -> None:
    shown = look_at(kept, era=NEWEST_ERA)
    places = {difference.place.split(": ")[1]: difference for difference in shown.differences}
    assert len(places) == 2
    (member,) = [each for place, each in places.items() if "chunk" in place]
    assert member.place == "member0, byte 8192: chunk 0, data of array sector 0 (stripe 0)"
    assert "1 of 4096 bytes differ" in " ".join(member.lines)
    (journal,) = [each for place, each in places.items() if "log sector" in place]
    left = noise(1)
    assert member.lines[3] == (
        f"from byte 5 of the block on: {bytes([left[5] ^ 1, *left[6:13]]).hex(' ')},"
        f" predicted {left[5:13].hex(' ')}"
    )
    assert "meta block" in journal.lines[0]
    assert "meta block" in journal.lines[1]


def test_what_recovery_changed_is_told_for_each_disk(kept: Path) -> None:
    shown = look_at(kept, era=NEWEST_ERA)
    said = dict(line.split(": ", maxsplit=1) for line in shown.changes)
    assert said["member0"] == "data of array sector 0"
    assert said["member1"] == "nothing"
    assert "log sector" in said["journal"]
    assert "md superblock" in said["journal"]


def test_the_journal_is_drawn_before_and_after(kept: Path) -> None:
    first, second = look_at(kept, era=NEWEST_ERA).maps
    assert first.caption == "The journal as the power left it"
    assert second.caption == "The journal as the kernel left it"
    for picture in (first, second):
        ET.fromstring(picture.svg)
        assert "<style" not in picture.svg
        assert "xmlns" not in picture.svg


def test_telling_lines_of_the_kernels_log_are_marked(kept: Path) -> None:
    shown = look_at(kept, era=NEWEST_ERA)
    assert [line.telling for line in shown.kernel_log] == ["", "md", "complaint"]
    assert marked(["nothing"])[0].telling == ""


def test_damaged_images_are_a_remark(kept: Path) -> None:
    (kept / "before/member1.img").write_bytes(b"none")
    (kept / "before/journal.img").write_bytes(bytes(8192))
    shown = look_at(kept, era=NEWEST_ERA)
    assert shown.remarks
    assert shown.kernel_log


def test_an_empty_folder_has_nothing_to_show_and_says_so(tmp_path: Path) -> None:
    assert look_at(tmp_path, era=NEWEST_ERA).remarks == ("no image of a disk was kept",)


def test_a_reproducer_that_is_damaged_shows_what_is_left(kept: Path) -> None:
    (kept / "reproducer.json").write_text(json.dumps({"state": {"cut": 7, "survives": []}}))
    shown = exhibit_of_smallest(kept, NEWEST_ERA)
    assert shown.timeline is None
    assert shown.maps


def test_the_style_of_maps_touches_nothing_else_in_a_page() -> None:
    bare = RING_STYLE.replace("@media (prefers-color-scheme:dark){", "")
    selectors = [
        one.strip() for rule in bare.split("}") if "{" in rule
        for one in rule.split("{")[0].split(",")
    ]  # fmt: skip
    assert len(selectors) > 30
    assert all(one.startswith((".ring", "#")) for one in selectors)
    ET.fromstring(RING_DEFINITIONS)
    alone = f'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">{STYLE}</svg>\n'
    assert for_a_page(alone) == '<svg class="ring"></svg>'
