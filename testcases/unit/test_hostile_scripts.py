"""A script made of a stranger's bundle says nothing that reaches beyond its own devices."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.campaign.reproducing.bundle import Bundle, GuestFacts, KernelFacts, Kind
from harness.campaign.reproducing.script_words import may_be_read, may_be_set, mdadm_words
from harness.campaign.scenarios.managing import Add, Assemble, Expect, ExpectLog, Mdadm, Remove, Set
from harness.campaign.scenarios.promising import Promised
from harness.campaign.scenarios.scenario import SMALL, Scenario, Verb
from harness.verdict.reason import Reason
from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict
from tools.repro_script import script_of

INJECTED = "'; touch pwned; $(touch pwned) `touch pwned`\ntouch pwned\n\""
HOSTILE: tuple[Verb, ...] = (
    Set("../../../../etc/cron.d/x", "* * * * * root reboot"),
    Set("../" * 12 + "tmp/pwned", "1"),
    Set("new_dev", "8:0"),
    Set("stripe_cache_size", INJECTED),
    Expect("../../../../etc/shadow", "root"),
    Expect(INJECTED, INJECTED),
    ExpectLog(INJECTED),
    Mdadm("--monitor --program=/tmp/x --oneshot --test {array}"),
    Mdadm("--grow {array} --backup-file=/etc/passwd --raid-devices=4"),
    Mdadm("--zero-superblock /dev/sda"),
    Mdadm("--stop /dev/md0"),
    Mdadm("--assemble --scan"),
    Mdadm("{array} --add {sda}"),
    Mdadm(f"--detail {INJECTED}"),
    Assemble(options="/dev/sda --config=/tmp/x"),
    Assemble(options=INJECTED),
    Add(disk="spare0", how="--program=/tmp/x"),
    Add(disk=INJECTED, how="--add"),
    Remove(INJECTED),
    Promised(INJECTED, Set("../../x", "1")),
)  # fmt: skip


def story(*steps: Verb) -> Bundle:
    finding = Finding("step", "it is red")
    return Bundle(
        kind=Kind.SCENARIO, made_by="somebody", shape=SMALL, seed=1,
        kernel=KernelFacts(name="6.1", release="6.1.0", version="6.1.1", identity=""),
        guest=GuestFacts(kind="tiny", accelerator="tcg"),
        verdict=Verdict(Outcome.DIFFERS, (Judgement("step", ("x",), (finding,)),), ""),
        reason=Reason("step", "it is red"), scenario=Scenario(claim="a claim", steps=steps),
    )  # fmt: skip


def lines_of(script: str) -> list[str]:
    return (
        script.partition("lines=$(dmesg | wc -l)\n")[2]
        .partition('say "what the kernel')[0]
        .splitlines()
    )


def ran(script: str, folder: Path) -> list[str]:
    """Run a script's own lines with functions that do nothing but tell their arguments."""
    names = "skipped attribute expect status log_says manage assemble stop cut flush in_time"
    stubs = [f'{name}() {{ echo "{name} $#"; }}' for name in (*names.split(), "red", "refused")]
    text = "\n".join(["MD=/dev/null", "NAME=x", "cannot() { exit 9; }", *stubs, *lines_of(script)])
    done = subprocess.run(
        ["/bin/sh"], input=text, cwd=folder, capture_output=True, text=True, check=True, timeout=60,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert not done.stderr
    return done.stdout.splitlines()


def test_no_step_runs_a_strangers_command(tmp_path: Path) -> None:
    told = ran(script_of(story(*HOSTILE)), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert {word.partition(" ")[0] for word in told} == {
        "in_time", "attribute", "skipped", "log_says", "manage",
    }  # fmt: skip
    # The array is made, its mode set, and of all the above a text is looked for in the log, a disk
    # of no known name removed and added.
    assert told.count("skipped 1") == len(HOSTILE) - 3


@pytest.mark.parametrize("verb", [*HOSTILE[:6], *HOSTILE[7:17]])
def test_what_reaches_beyond_its_devices_is_left_out(verb: Verb) -> None:
    added = "\n".join(lines_of(script_of(story(verb)))).replace(
        "\n".join(lines_of(script_of(story()))).rstrip(), ""
    )
    assert added.lstrip().startswith("skipped ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--stop {array}", ["--stop", '"$MD"']),
        ("{array} --replace {member1} --with {spare0}",
         ['"$MD"', "--replace", '"/dev/mapper/$NAME-member1"', "--with",
          '"/dev/mapper/$NAME-spare0"']),
        ("--grow {array} --level=6 --raid-devices=4",
         ["--grow", '"$MD"', "--level=6", "--raid-devices=4"]),
        ("{array} --remove failed", ['"$MD"', "--remove", "failed"]),
        ("--create {array} --write-journal={spare0}",
         ["--create", '"$MD"', '--write-journal="/dev/mapper/$NAME-spare0"']),
        ("--bitmap=/tmp/x {array}", None), ("-F {array}", None), ("--prog=x", None),
        ("--detail {array}x", None), ("--level", ["--level"]), ("", []), ("--", None),
    ],
)  # fmt: skip
def test_the_words_of_mdadm(arguments: str, words: list[str] | None) -> None:
    assert mdadm_words(arguments, ("member1", "spare0")) == words


def test_the_attributes() -> None:
    assert may_be_set("stripe_cache_size", "1024")
    assert may_be_read("rd0/state")
    assert not may_be_set("rd0/state", "faulty")
    assert not may_be_read("rd0/../../x")
    assert not may_be_set("suspend_hi", "1\n")


@pytest.mark.parametrize("steps", [(), (Set("skip_copy", "1"),)])
def test_an_array_that_is_in_use_is_not_stopped(steps: tuple[Verb, ...]) -> None:
    """What ends a script early must not stop an array that is not its own."""
    script = script_of(story(*steps))
    stops = [line for line in script.splitlines() if "mdadm --stop" in line and "&&" in line]
    assert len(stops) == 1
    assert stops[0].strip().startswith('[ -n "$OURS" ] &&')
    assert script.index("is in use") < script.index("\nOURS=1\n")
