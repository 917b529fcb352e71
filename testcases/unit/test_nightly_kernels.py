"""A plan's kernels and guests made ready: what cannot be had is told, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.lab import GuestImage
from harness.campaign.nights.plan import PlannedKernel, plan_of
from harness.campaign.reproducing.bundle import GuestFacts, KernelFacts
from harness.errors import BadInput, Unavailable
from kvm_images.kernels import Kernel
from tools import nightly, nightly_kernels
from tools.cli import run
from tools.nightly_kernels import GuestName, prepared
from tools.nightly_plan import needed_guests

TINY, FULL, NEWER = GuestName(), GuestName("full", "4.2"), GuestName("tiny", "4.6")
PLAN = """
kernels = ["6.1", "7.3"]
[[explore]]
name = "five"
[[scenarios]]
names = ["a-boot-recovers-a-dirty-journal"]
[[scenarios]]
names = ["a-clean-array-starts-without-a-member"]
kernels = ["7.3"]
mdadm = ["4.6"]
"""
Faults = dict[str, Exception]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """What is raised for a kernel by its name, or for a guest by its kind and mdadm."""
    found: Faults = {}

    def raise_for(name: str) -> None:
        if name in found:
            raise found[name]

    def fetch(name: str, **_: Any) -> Kernel:
        raise_for(name)
        return Kernel(
            name=name, release=f"{name}.9-amd64", version=f"{name}.9-1", image=Path(f"/{name}"),
            modules=Path("/modules"), identity=f"id-{name}", suite="bookworm",
        )  # fmt: skip

    def guest(kind: str) -> Callable[..., GuestImage]:
        def make(kernel: Kernel, accel: str, mdadm: str, **_: Any) -> GuestImage:
            raise_for(f"{kind} {mdadm} of {kernel.name}")
            return GuestImage(
                kernel_image=kernel.image, kernel_version=kernel.version,
                initramfs=Path(f"/{kind}"), identity=f"{kind} {mdadm}", accelerator=accel,
                saved_guests=Path("/saved"), root=Path("/root.ext2") if kind == "full" else None,
            )  # fmt: skip

        return make

    monkeypatch.setattr("kvm_images.store.fetch", fetch)
    monkeypatch.setattr(nightly_kernels, "find_kernel", lambda name, *_, **__: fetch(name))
    monkeypatch.setattr(nightly_kernels, "guest_image", guest("tiny"))
    monkeypatch.setattr(nightly_kernels, "full_guest_image", guest("full"))
    monkeypatch.setattr(
        nightly_kernels, "kernel_facts",
        lambda k: KernelFacts(name=k.name, release=k.release, version=k.version, identity=""),
    )  # fmt: skip
    monkeypatch.setattr(
        nightly_kernels, "guest_facts",
        lambda image, mdadm, **_: GuestFacts(
            kind="tiny" if image.root is None else "full", accelerator="tcg", mdadm=mdadm
        ),
    )  # fmt: skip
    return found


def made(said: list[str] | None = None) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Make a plan's kernels ready; return the guests of each, and what is lacking."""
    plan = plan_of(PLAN)
    say = (list[str]() if said is None else said).append
    found, lacking = prepared(plan.kernels, needed_guests(plan), "tcg", say=say)
    return {name: set(each.guests) for name, each in found.items()}, lacking


@pytest.mark.usefixtures("faults")
def test_each_kernel_has_the_guests_that_its_work_needs() -> None:
    assert made() == (
        {"6.1": {str(TINY), str(FULL)}, "7.3": {str(TINY), str(FULL), str(NEWER)}}, {}
    )  # fmt: skip
    plan = plan_of(PLAN)
    found, _ = prepared(plan.kernels, needed_guests(plan), "tcg", say=lambda _: None)
    full = found["6.1"].guests[str(FULL)]
    assert full.files == (Path("/full"), Path("/root.ext2"))
    assert found["6.1"].guests[str(TINY)].files == (Path("/tiny"),)
    assert (full.facts["kind"], full.facts["identity"]) == ("full", "full 4.2")


def test_a_kernel_that_cannot_be_had_is_told_and_the_others_go_on(faults: Faults) -> None:
    said: list[str] = []
    faults["7.3"] = BadInput("7.3: no such kernel\nnext: another one")
    kernels, lacking = made(said)
    assert list(kernels) == ["6.1"]
    assert lacking == {"kernel 7.3": "7.3: no such kernel"}
    assert "kernel 7.3 cannot be had: 7.3: no such kernel" in said


def test_what_debian_does_not_give_now_is_taken_from_the_cache(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cached(name: str, *_: Any, **__: Any) -> Kernel:
        return Kernel(
            name=name, release="r", version="6.1.1-1", image=Path("/k"), modules=Path("/m"),
            identity="old", suite="bookworm",
        )  # fmt: skip

    monkeypatch.setattr(nightly_kernels, "find_kernel", cached)
    said: list[str] = []
    faults["6.1"] = Unavailable("no answer from the mirror")
    kernels, lacking = made(said)
    assert (set(kernels), lacking) == ({"6.1", "7.3"}, {})
    assert "6.1: taking what is in the cache: no answer from the mirror" in said


def test_a_guest_that_cannot_be_had_takes_its_work_alone(faults: Faults) -> None:
    faults["full 4.2 of 6.1"] = Unavailable("mmdebstrap is missing")
    kernels, lacking = made()
    assert kernels["6.1"] == {str(TINY)}
    assert str(FULL) in kernels["7.3"]
    assert lacking == {f"kernel 6.1 in a {FULL}": "mmdebstrap is missing"}


def test_no_kernel_at_all_ends_the_night(faults: Faults) -> None:
    faults.update({name: Unavailable(f"no {name}") for name in ("6.1", "7.3")})
    with pytest.raises(Unavailable, match=r"no kernel of the plan can be had; kernel 6\.1: no 6"):
        made()


@pytest.mark.usefixtures("faults")
def test_a_kernel_on_which_nothing_is_to_be_done_is_told() -> None:
    kernels = plan_of(PLAN).kernels
    found, lacking = prepared(kernels, {"6.1": {TINY}}, "tcg", say=lambda _: None)
    assert list(found) == ["6.1"]
    assert lacking == {"kernel 7.3": "nothing of the plan is to be done on it"}
    with pytest.raises(Unavailable, match="nothing of the plan is to be done on it"):
        prepared(kernels, {}, "tcg", say=lambda _: None)


@pytest.mark.usefixtures("faults")
def test_a_tree_is_built_first_and_a_build_that_fails_is_told(tmp_path: Path) -> None:
    good = PlannedKernel(
        name="mine", image="/b", modules="/m", build=f"touch {tmp_path}/built; echo all well"
    )
    bad = PlannedKernel(
        name="bad", image="/b", modules="/m", build="echo one; echo file.c:1: no; exit 2"
    )
    needed = {"mine": {TINY}, "bad": {TINY}}
    found, lacking = prepared((good, bad), needed, "tcg", say=lambda _: None)
    assert list(found) == ["mine"]
    assert (tmp_path / "built").exists()
    assert lacking == {"kernel bad": "its build ended with 2: file.c:1: no"}


def test_fetch_has_all_of_it_ready_and_says_what_is_lacking(
    faults: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[str] = []

    def noted(kernels: Any, needed: Any, accel: str, *, say: Any) -> Any:
        asked.append(accel)
        return prepared(kernels, needed, accel, say=say)

    monkeypatch.setattr(nightly, "prepared", noted)
    (tmp_path / "plan.toml").write_text(PLAN)
    words = ["nightly", str(tmp_path / "plan.toml"), "--fetch"]
    assert run(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"kernel 6.1: 6.1.9-1, {FULL}, {TINY}", f"kernel 7.3: 7.3.9-1, {FULL}, {TINY}, {NEWER}"
    ]  # fmt: skip
    faults["full 4.2 of 6.1"] = Unavailable("mmdebstrap is missing")
    assert run(words) == 3
    assert f"kernel 6.1 in a {FULL} cannot be had: mmdebstrap is missing" in capsys.readouterr().out
    # No guest may be started for it: none is asked whether KVM works.
    assert asked == ["tcg", "tcg"]
