"""What a case's name stands for, and that its images come back as they were."""

from __future__ import annotations

import tarfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.campaign.crash import CrashOptions, CutChoice, workload_of
from harness.campaign.lab import GuestImage
from harness.crash.states import Loss
from harness.crash.workload import FailMember, FlushStep, Step, StopArray, WriteStep
from harness.errors import BadInput
from harness.recovery.era import NEWEST_ERA
from harness.storage.images import create_image
from testcases.corpus.capture import pack, unpack, write_case
from testcases.corpus.cases import CASES, GRID, CaseSpec, Kind, case_named

IMAGE = GuestImage(
    kernel_version="6.1.192",
    kernel_image=Path("k"), initramfs=Path("i"), identity="x", accelerator="tcg",
    saved_guests=Path("s"),
)  # fmt: skip


def options_of(spec: CaseSpec) -> CrashOptions:
    return CrashOptions(
        shape=spec.shape, era=NEWEST_ERA, image=IMAGE, seed=spec.seed, cut=CutChoice(),
        steps=spec.steps, fill=spec.fill,
    )  # fmt: skip


def steps_of(spec: CaseSpec) -> Sequence[Step]:
    return spec.workload(options_of(spec)).steps


def of_kind(kind: Kind) -> list[CaseSpec]:
    return [spec for spec in CASES.values() if spec.kind is kind]


# Names


def test_a_name_says_level_mode_kind_and_kernel() -> None:
    for name, spec in GRID.items():
        shape = spec.shape
        said = f"raid{shape.level:d}-{shape.mode.value}-{spec.kind.value}-{spec.kernel}"
        assert name == spec.name == said


def test_every_case_has_a_seed_of_its_own() -> None:
    assert len({(spec.seed, spec.kernel) for spec in CASES.values()}) == len(CASES)


def test_an_unknown_name_is_refused_with_how_names_are_made() -> None:
    with pytest.raises(BadInput, match=r"'raid5'.*raid\{4,5,6\}.*7\.3.*torn.*cases\.py"):
        case_named("raid5")


# Workloads


def test_a_stopped_array_is_stopped_behind_a_write_and_nothing_is_lost() -> None:
    for spec in of_kind(Kind.STOPPED):
        steps = steps_of(spec)
        assert isinstance(steps[-1], StopArray)
        assert isinstance(steps[-2], WriteStep)
        assert spec.loss is Loss.NONE


def test_members_of_a_degraded_array_fail_in_order_with_writes_before_and_behind() -> None:
    for spec in of_kind(Kind.DEGRADED):
        steps = steps_of(spec)
        places = [n for n, step in enumerate(steps) if isinstance(step, FailMember)]
        assert tuple(s.slot for s in steps if isinstance(s, FailMember)) == spec.failed
        assert 1 <= len(places) <= spec.shape.level.parities
        for first, last in zip((0, *places), (*places, len(steps)), strict=True):
            assert any(isinstance(step, WriteStep) for step in steps[first:last])


def test_on_raid6_two_members_fail_in_some_case_and_one_in_another() -> None:
    counts = {len(s.failed) for s in of_kind(Kind.DEGRADED) if s.shape.level.parities == 2}
    assert counts == {1, 2}


def test_what_is_added_leaves_the_drawn_steps_as_they_are() -> None:
    added = FailMember | StopArray
    for spec in CASES.values():
        drawn = list(workload_of(options_of(spec)).steps)
        while spec.kind is Kind.STOPPED and isinstance(drawn[-1], FlushStep):
            drawn.pop()
        assert [step for step in steps_of(spec) if not isinstance(step, added)] == drawn


# Cases on disk


def test_images_come_back_sparse_and_equal(tmp_path: Path) -> None:
    held = {"before/member0.img": 8192, "before/journal.img": 65536, "after/member0.img": 0}
    for name, at in held.items():
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        create_image(path, 1 << 20)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(name.encode() * 100)
    write_case(tmp_path / "case", pack(tmp_path / "run"), {"kernel": 'a "b"', "failed": [1]})
    unpack(tmp_path / "case", tmp_path / "out")
    for name in held:
        out = tmp_path / "out" / name
        assert out.read_bytes() == (tmp_path / "run" / name).read_bytes()
        assert out.stat().st_blocks * 512 < 1 << 18
    origin = tomllib.loads((tmp_path / "case/origin.toml").read_text())
    assert origin == {"kernel": 'a "b"', "failed": [1]}


def test_a_case_tells_nothing_of_who_made_it_and_when(tmp_path: Path) -> None:
    create = tmp_path / "run/before/x.img"
    create.parent.mkdir(parents=True)
    (tmp_path / "run/after").mkdir()
    create_image(create, 4096)
    packed = pack(tmp_path / "run")
    write_case(tmp_path / "case", packed, {})
    with tarfile.open(tmp_path / "case/images.tar.xz") as tar:
        assert {(m.uid, m.gid, m.mtime) for m in tar} == {(0, 0, 0)}
    assert pack(tmp_path / "run") == packed
