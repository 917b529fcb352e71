"""`bisect run` under a real `git bisect run`, on a made history of the driver.

It takes Debian's kernel source (133 MiB, once) and a compiler. Ten minutes in all, on two
busy cores under TCG.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvm_images import store
from kvm_images.driver_tree import DriverTree, driver_tree
from kvm_images.kernels import Kernel
from testcases.nightly.made_history import (
    AFTER,
    ALWAYS_RED,
    BEFORE,
    BREAKS_ALWAYS,
    BREAKS_NOW_AND_THEN,
    FIRST,
    MODULE,
    NOT_LOADING,
    NOW_AND_THEN,
    UNBUILDABLE,
    History,
    make_history,
)
from tools.launch.debian import require_packages

pytestmark = [pytest.mark.guest, pytest.mark.timeout(7200)]

ROOT = Path(__file__).resolve().parents[2]
LAST = AFTER[-1].subject
_MOST_CRASHES = 60
_MEASURED = 8


@dataclass(frozen=True)
class Work:
    """A history, what its modules are built and run with, and a folder for results."""

    history: History
    kernel: Kernel
    tree: DriverTree
    folder: Path

    @property
    def build(self) -> str:
        """The command for --build."""
        return f'make -C {shlex.quote(str(self.tree.headers))} M="$PWD" CC=gcc modules'

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the product where the history is."""
        command = [str(ROOT / "tools/mdjournal"), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.history.folder, env=self.environment(),
                              capture_output=True, text=True, check=False)  # fmt: skip
        print("$", shlex.join(["tools/mdjournal", *command[1:]]), f"# {done.returncode}",
              done.stdout, done.stderr, sep="\n")  # fmt: skip
        return done

    def environment(self) -> Mapping[str, str]:
        """The variables of a person with an empty folder of results."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {**kept, "MDJOURNAL_RESULTS": str(self.folder / "results"),
                "TMPDIR": str(self.folder)}  # fmt: skip

    def build_at(self, subject: str) -> Path:
        """Return the module of a commit."""
        self.history.check_out(subject)
        subprocess.run(self.build, shell=True, cwd=self.history.folder, check=True)
        return self.history.folder / MODULE

    def bundle(self, name: str) -> Path:
        """Return a bundle of a red crash with the newest module."""
        module, path = self.build_at(LAST), self.folder / name
        for seed in range(_MOST_CRASHES):
            kernel = ("--kernel", self.kernel.name, "--module", module)
            if self.run("crash", "--seed", str(seed), *kernel).returncode == 1:
                assert self.run("repro", "pack", "LAST", "--out", path).returncode == 0
                return path
        raise AssertionError(f"not one of {_MOST_CRASHES} crashes was red")

    def judge(self, bundle: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `bisect run` as it is typed."""
        return self.run("bisect", "run", bundle, *arguments)

    def bisect(self, bundle: Path) -> str:
        """Let git bisect the history, and return what it said."""
        command = [ROOT / "tools/mdjournal", "bisect", "run", bundle, "--build", self.build,
                   "--module-dir", "."]  # fmt: skip
        commits = self.history.commits
        self.history.git("bisect", "start", commits[LAST], commits[FIRST])
        said = self.history.git("bisect", "run", *map(str, command),
                                more=self.environment())  # fmt: skip
        said += self.history.git("bisect", "log")
        self.history.git("bisect", "reset")
        print(said)
        return said


@pytest.fixture(scope="module")
def tree(kernel: str) -> tuple[Kernel, DriverTree]:
    """The driver of the kernel that is asked for, in source."""
    require_packages("made history")
    found = store.resolve(kernel, say=print)
    return found, driver_tree(found, say=print)


@pytest.fixture(scope="module")
def always(
    tree: tuple[Kernel, DriverTree], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Work, Path]:
    """A history with a bug that is always red, and a bundle of it."""
    folder = tmp_path_factory.mktemp("always")
    edits = (*BEFORE, BREAKS_ALWAYS, *AFTER)
    work = Work(make_history(tree[1].source, folder / "linux", edits), *tree, folder)
    return work, work.bundle("X.mdjr")


def test_git_names_the_commit_that_broke_the_driver(always: tuple[Work, Path]) -> None:
    work, bundle = always
    assert len(work.history.commits) >= 16
    said = work.bisect(bundle)
    assert f"{work.history.commits[ALWAYS_RED]} is the first bad commit" in said
    skipped = [line for line in said.splitlines() if line.startswith("git bisect skip")]
    assert skipped, "one that does not load lies in the middle"


@pytest.mark.parametrize(
    ("subject", "status"),
    [(FIRST, 0), (ALWAYS_RED, 1), (LAST, 1), (UNBUILDABLE, 125), (NOT_LOADING, 125)],
)
def test_each_kind_of_commit_has_its_status(
    always: tuple[Work, Path], subject: str, status: int
) -> None:
    work, bundle = always
    work.history.check_out(subject)
    done = work.judge(bundle, "--build", work.build, "--module-dir", ".")
    assert done.returncode == status, done.stdout


@pytest.mark.parametrize("cut", ["nothing", "half", "zeroes"])
def test_a_kernel_that_does_not_boot_cannot_be_tested(
    always: tuple[Work, Path], tmp_path: Path, cut: str
) -> None:
    work, bundle = always
    whole, image = work.kernel.image.read_bytes(), tmp_path / "bzImage"
    head = {"nothing": 0, "half": len(whole) // 2, "zeroes": 1 << 15}[cut]
    image.write_bytes(whole[:head])
    if cut == "zeroes":
        os.truncate(image, len(whole))
    done = work.judge(bundle, "--kernel", image, "--modules", work.kernel.modules)
    assert done.returncode == 125


def test_a_module_of_another_kernel_cannot_be_tested(
    always: tuple[Work, Path], tmp_path: Path
) -> None:
    work, bundle = always
    module = work.build_at(FIRST).read_bytes()
    other = work.kernel.release.encode()
    (tmp_path / MODULE).write_bytes(
        module.replace(b"vermagic=" + other, b"vermagic=" + other[::-1])
    )
    done = work.judge(bundle, "--module-dir", tmp_path)
    assert done.returncode == 125
    assert "built for" in done.stdout


def test_misuse_ends_the_bisection_instead_of_blaming_a_commit(always: tuple[Work, Path]) -> None:
    work, bundle = always
    assert work.judge(bundle, "--no-such-option").returncode == 2
    work.history.git("bisect", "start")
    try:
        assert work.judge(bundle, "--no-such-option").returncode == 128
        assert work.judge(work.folder / "none.mdjr").returncode == 128
    finally:
        work.history.git("bisect", "reset")


def test_a_bug_that_shows_now_and_then_is_bisected_too(
    tree: tuple[Kernel, DriverTree], tmp_path: Path
) -> None:
    edits = (*BEFORE, BREAKS_NOW_AND_THEN, *AFTER)
    work = Work(make_history(tree[1].source, tmp_path / "linux", edits), *tree, tmp_path)
    bundle, module = work.bundle("X.mdjr"), work.history.folder / MODULE
    for _ in range(_MEASURED):  # how often it is red is learned first
        assert work.run("repro", "run", bundle, "--module", module, "--save", bundle,
                        "--force").returncode in (0, 1)  # fmt: skip
    said = work.bisect(bundle)
    assert f"{work.history.commits[NOW_AND_THEN]} is the first bad commit" in said
