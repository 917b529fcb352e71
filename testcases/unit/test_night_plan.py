"""Plan files: what one says is what is read, and what no plan does is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.campaign.history.records import Kind
from harness.campaign.nights.plan import Stories, applies, plan_of, read_plan, seconds_of
from harness.crash.disk_kinds import Bus
from harness.crash.trace import Cache
from harness.crash.workload import JournalMode
from harness.errors import BadInput
from harness.recovery.layout import Level

WHOLE = """
budget = "1h30m"
kernels = ["6.1", "rc"]

[[kernel]]
name = "mine"
image = "/src/bzImage"
modules = "/src/mods"
build = "make -j2"

[scenarios]
names = ["quick", "a-member-fails"]
kernels = ["6.1"]
repeats = 3
mdadm = ["4.2", "sid"]
guest = "full"

[[explore]]
name = "five"
level = 5
members = 4
chunk = "64K"
journal = "8M"
mode = "write-back"
journal-cache = "write-through"
member-cache = "write-through"
bus = "nvme"
logical-block = 4096
states = 200
steps = 20
units = 7
kernels = ["mine", "rc"]

[[fuzz]]
name = "five"
level = 6
members = 5
"""
LINE = '[[explore]]\nname = "five"\n'
SMALL = f'kernels = ["6.1"]\n{LINE}'


def test_everything_that_a_plan_says_is_read() -> None:
    plan = plan_of(WHOLE)
    assert plan.budget_s == 5400
    assert [kernel.name for kernel in plan.kernels] == ["6.1", "rc", "mine"]
    assert plan.kernels[2].build == "make -j2"
    assert plan.stories == (
        Stories(
            names=("quick", "a-member-fails"), kernels=("6.1",), repeats=3, mdadm=("4.2", "sid"),
            in_full_guest=True,
        ),
    )  # fmt: skip
    explored, fuzzed = plan.lines
    assert (explored.kind, fuzzed.kind) == (Kind.EXPLORE, Kind.FUZZ)
    assert (explored.states, explored.steps, explored.units) == (200, 20, 7)
    assert explored.kernels == ("mine", "rc")
    shape = explored.shape
    assert shape is not None
    assert (shape.level, shape.members, shape.chunk_bytes) == (Level.RAID5, 4, 64 << 10)
    assert (shape.mode, shape.bus) == (JournalMode.WRITE_BACK, Bus.NVME)
    assert (shape.member_cache, shape.journal_cache) == (Cache.WRITE_THROUGH, Cache.WRITE_THROUGH)
    assert shape.logical_block_bytes == 4096


def test_what_a_plan_leaves_out() -> None:
    plan = plan_of(SMALL)
    (line,) = plan.lines
    assert plan.budget_s == 8 * 3600
    assert (line.states, line.steps, line.units, line.kernels) == (100, 12, 0, ())
    assert plan.stories == ()
    assert plan_of('kernels = ["6.1"]\n[[fuzz]]\nname = "f"\n').lines[0].states == 40
    # A plan of scenarios alone that names none has all of them.
    (stories,) = plan_of('kernels = ["6.1"]\n[scenarios]\nrepeats = 2\n').stories
    assert (stories.names, stories.mdadm, stories.in_full_guest) == (("all",), (), False)


def test_several_selections_of_scenarios() -> None:
    one, other = plan_of(
        'kernels = ["6.1", "rc"]\n[[scenarios]]\n[[scenarios]]\nnames = ["quick"]\n'
        'kernels = ["rc"]\nmdadm = ["4.6"]\n'
    ).stories
    assert (one.names, one.kernels) == (("all",), ())
    assert (other.names, other.kernels, other.mdadm) == (("quick",), ("rc",), ("4.6",))


def test_the_plan_that_is_built_in_reads() -> None:
    plan = read_plan(None)
    assert plan.budget_s == 8 * 3600
    names = [kernel.name for kernel in plan.kernels]
    assert names == ["5.10", "6.1", "6.12", "newest", "rc"]
    assert [(each.names, each.mdadm) for each in plan.stories] == [
        (("all",), ()), (("quick",), ("4.4", "4.6"))
    ]  # fmt: skip
    assert {line.kind for line in plan.lines} == {Kind.EXPLORE, Kind.FUZZ}


def test_a_line_is_for_its_kernels() -> None:
    assert applies((), "6.1")
    assert applies(("6.1",), "6.1")
    assert not applies(("6.1",), "6.12")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28800), ("20m", 1200), ("90s", 90), ("1h30m", 5400), ("1h 2m 3s", 3723)],
)
def test_a_time(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "8 hours", "-1h", "1.5h", "8h x", "0s", "0h"])
def test_no_time(text: str) -> None:
    with pytest.raises(BadInput, match="is no time; wanted 8h, 20m, 90s or 1h30m"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kernels = [", "is no TOML: "),
        ('kernel = ["6.1"]', "kernel 1: is no table"),
        ('kernels = "6.1"', "kernels is '6.1'; a list of names is wanted"),
        (f"kernels = [6.1]\n{LINE}", "kernels is [6.1]; a list of names is wanted"),
        (f"kernels = []\n{LINE}", "no kernels are named"),
        (LINE, "no kernels are named"),
        ('kernels = ["6.1"]', "nothing is to be done: no [[explore]], [[fuzz]] or [scenarios]"),
        (f'kernels = ["6.1", "6.1"]\n{LINE}', "two kernels have one name"),
        (f'kernels = ["My Kernel"]\n{LINE}',
         "kernel 'My Kernel': small letters, digits, dots, dashes"),
        (f"budgets = 1\n{SMALL}",
         "nothing is called budgets; known: budget, explore, fuzz, kernel, kernels, scenarios"),
        (f"budget = 8\n{SMALL}", "budget: '8' is no time; wanted 8h, 20m, 90s or 1h30m"),
        (f'{SMALL}level = 7\n', "explore five: "),
        (f'{SMALL}level = "five"\n', "explore five: "),
        (f'{SMALL}members = 2\n', "explore five: "),
        (f'{SMALL}members = "many"\n', "explore five: members is 'many'"),
        (f'{SMALL}chunk = "16 kilos"\n',
         "explore five: '16 kilos' is no size; wanted 65536, 64K or 8M"),
        (f'{SMALL}journal = "-1M"\n', "explore five: '-1M' is no size"),
        (f'{SMALL}mode = "write-sideways"\n', "explore five: "),
        (f'{SMALL}bus = "usb"\n', "explore five: "),
        (f'{SMALL}layout = "sideways"\n', "explore five: "),
        (f'{SMALL}discard = "maybe"\n', "explore five: "),
        (f'{SMALL}member-cache = "none"\n', "explore five: "),
        (f'{SMALL}logical-block = 513\n', "explore five: "),
        (f"{SMALL}states = 0\n",
         "explore five: states is 0; a number from 1 on is wanted"),
        (f"{SMALL}states = true\n", "explore five: states is True; a number from 1 on"),
        (f"{SMALL}steps = 1.5\n", "explore five: steps is 1.5; a number from 1 on"),
        (f"{SMALL}units = -1\n", "explore five: units is -1; a number from 0 on"),
        (f'{SMALL}kernels = ["7.3"]\n', "explore five: kernel 7.3 is none of the plan's"),
        (f'{SMALL}kernels = "6.1"\n',
         "explore five: kernels is '6.1'; a list of names is wanted"),
        (f"{SMALL}speed = 3\n", "explore five: nothing is called speed; known: bus, chunk, "),
        ('kernels = ["6.1"]\n[[explore]]\nlevel = 5\n',
         "explore 1: name is ''; small letters, digits, dots, dashes"),
        ('kernels = ["6.1"]\n[explore]\nname = "five"\n',
         "explore is one table; several are wanted, [[explore]]"),
        (f"{SMALL}{LINE}", "two lines are called five"),
        ('kernels = ["6.1"]\n[[fuzz]]\nname = "f"\nsteps = 3\n',
         "fuzz f: nothing is called steps; known: "),
        ('kernels = ["6.1"]\n[scenarios]\nname = ["quick"]\n',
         "scenarios: nothing is called name; known: guest, kernels, mdadm, names, repeats"),
        ('kernels = ["6.1"]\n[scenarios]\nnames = "quick"\n',
         "scenarios: names is 'quick'; a list of names is wanted"),
        ('kernels = ["6.1"]\n[scenarios]\nnames = []\n',
         "scenarios: no names; leave the table out for none"),
        ('kernels = ["6.1"]\nscenarios = ["quick"]\n', "scenarios: is no table"),
        ('kernels = ["6.1"]\n[scenarios]\nmdadm = "4.6"\n',
         "scenarios: mdadm is '4.6'; a list of names is wanted"),
        ('kernels = ["6.1"]\n[scenarios]\nguest = "tiny"\n',
         "scenarios: guest is 'tiny'; wanted own, each its own one, or full"),
        (f'[[kernel]]\nname = "m"\nimage = "/b"\n{LINE}',
         "kernel 1: an own tree needs image and modules"),
        (f'[[kernel]]\nimage = "/b"\nmodules = "/m"\n{LINE}', "kernel 1: has no name"),
        (f'[[kernel]]\nname = "m"\npath = "/b"\n{LINE}', "kernel 1: nothing is called path"),
    ],
)  # fmt: skip
def test_what_no_plan_says_is_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        plan_of(text)
    message = str(caught.value)
    assert message.startswith(said)
    assert len(message) > len("explore five: ")
    assert "\n" not in message


def test_a_plan_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    with pytest.raises(BadInput, match=r"plan.toml: cannot be read: No such file or directory"):
        read_plan(path)
    path.write_text("kernels = []")
    with pytest.raises(BadInput, match=r"plan.toml: no kernels are named"):
        read_plan(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match=r"plan.toml: is no text"):
        read_plan(path)


def test_a_plan_is_told_from_another_by_its_text() -> None:
    assert plan_of(SMALL).hash == plan_of(SMALL).hash
    assert plan_of(SMALL).hash != plan_of(f"{SMALL}states = 7\n").hash
