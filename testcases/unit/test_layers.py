"""Imports go downwards only, pure layers touch nothing, and what stands alone does.

DESIGN.md, section 3, read with ``ast`` from every module. A new package of the harness must be
given its level here; a pure module that needs one more harmless module of Python's, a line below.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
MOST_LINES = 399

LEVELS = {
    "ondisk": 0, "recovery": 1, "crash": 1, "verdict": 2, "fuzzing": 2,
    "storage": 3, "vm": 3, "md": 3, "hosts": 3, "campaign": 4,
}  # fmt: skip
FIRST_ACTING_LEVEL = 3
SIDEWAYS = {("vm", "hosts"), ("md", "hosts")}  # the interface that these two speak through
OUTSIDE = ("tools", "kvm_images", "testcases", "conftest")
# What the images may use of the harness; the agent stands alone and is judged so.
FOR_IMAGES = ("harness.errors", "harness.storage", "harness.processes")
STAND_ALONE = {
    "kvm_images.guest.agent": frozenset[str](),
    "kvm_images.guest.working": frozenset(),  # of the agent's modules those with harness.crash
    "kvm_images.guest.reading": frozenset(),
    "kvm_images.full.full_agent": frozenset(),
    "kvm_images.full.follow_events": frozenset({"pyudev"}),
    "kvm_images.lab.lab_agent": frozenset(),
    "kvm_images.lab.benches": frozenset(),  # of these the one with harness.crash
    "harness.storage.nbdkit_plugin": frozenset({"nbdkit"}),
}
INDEPENDENT = ("testcases.journal_writer", "testcases.independent_geometry")

# Modules that reach no file, process, clock or random source. Of random, only a seeded Random.
HARMLESS = (
    "__future__", "abc", "array", "bisect", "collections", "contextlib", "copy", "dataclasses",
    "enum", "errno", "functools", "hashlib", "heapq", "itertools", "json", "math", "operator",
    "random", "re", "string", "struct", "textwrap", "typing", "zlib",
    "crc32c", "numpy",
)  # fmt: skip
ACTING_CALLS = {
    "open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"
}  # fmt: skip
ACTING_ATTRIBUTES_OF_NUMPY = {
    "random", "fromfile", "tofile", "load", "save", "savez", "memmap", "loadtxt", "savetxt",
    "genfromtxt",
}  # fmt: skip


@cache
def modules() -> dict[str, Path]:
    """Return every module of the project by its dotted name; packages by their own."""
    found = {}
    for path in (REPO / "conftest.py", *REPO.glob("*/**/*.py")):
        parts = path.relative_to(REPO).with_suffix("").parts
        if not any(part.startswith(".") for part in parts):
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imported(name: str, source: str) -> tuple[str, ...]:
    """Return the dotted name of everything imported in a module, wherever in it that is done."""
    is_package = name in modules() and modules()[name].name == "__init__.py"
    package = name if is_package else name.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            found += (f"{base}.{alias.name}" for alias in node.names)
    return tuple(found)


def is_below(name: str, tops: tuple[str, ...]) -> bool:
    return any(name == top or name.startswith(f"{top}.") for top in tops)


def package_of(name: str) -> str | None:
    """Return the harness's package that a name lies in; none for what is not in one."""
    parts = name.split(".")
    return parts[1] if parts[0] == "harness" and len(parts) > 1 and parts[1] in LEVELS else None


def wrong_imports(name: str, source: str) -> list[str]:
    """Return the imports of one module that the layers forbid."""
    wrong = []
    for target in imported(name, source):
        if is_below(name, ("harness",)):
            fine = is_allowed_in_harness(name, target)
        elif name in STAND_ALONE:
            fine = True  # see `strangers`
        elif is_below(name, ("kvm_images",)):
            fine = not is_below(target, ("harness", *OUTSIDE)) or is_below(
                target, (*FOR_IMAGES, "kvm_images")
            )
        elif name in INDEPENDENT:
            fine = not is_below(target, ("harness", *OUTSIDE)) or is_below(target, INDEPENDENT)
        else:
            fine = True
        if not fine:
            wrong.append(target)
    return wrong


def is_allowed_in_harness(name: str, target: str) -> bool:
    if is_below(target, OUTSIDE):
        return False
    mine = package_of(name)
    if not is_below(target, ("harness",)):
        pure = mine is not None and LEVELS[mine] < FIRST_ACTING_LEVEL
        return not pure or is_below(target, HARMLESS)
    if is_below(target, ("harness.errors",)):
        return True
    if mine is None:  # harness.errors and harness.processes stand on nothing else
        return False
    if is_below(target, ("harness.processes",)):
        return LEVELS[mine] >= FIRST_ACTING_LEVEL
    theirs = package_of(target)
    if theirs is None:
        return False
    return LEVELS[theirs] < LEVELS[mine] or theirs == mine or (mine, theirs) in SIDEWAYS


def wrong_actions(source: str) -> list[str]:
    """Return where a pure module's text opens, prints, or draws what no seed decides."""
    tree = ast.parse(source)
    names = {"random": "random", "numpy": "numpy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
    return [
        f"{ast.unparse(node)} in line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.expr | ast.stmt)
        and (acts(node, names) or (isinstance(node, ast.ImportFrom) and imports_acting(node)))
    ]


def acts(node: ast.AST, names: dict[str, str]) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=called)) if called in ACTING_CALLS:
            return True
        case ast.Call(func=ast.Attribute(attr="Random") | ast.Name(id="Random")):
            return not node.args and not node.keywords  # without a seed
        case ast.Attribute(value=ast.Name(id=owner), attr=attribute) if owner in names:
            return is_acting_attribute(names[owner], attribute)
        case ast.Attribute(attr="tofile"):
            return True
    return False


def imports_acting(node: ast.ImportFrom) -> bool:
    module = node.module or ""
    return module == "numpy.random" or any(
        is_acting_attribute(module, alias.name) for alias in node.names
    )


def is_acting_attribute(module: str, attribute: str) -> bool:
    if module == "random":
        return attribute != "Random"
    return module == "numpy" and attribute in ACTING_ATTRIBUTES_OF_NUMPY


def strangers(name: str, source: str, own: frozenset[str]) -> set[str]:
    """Return what a module reaches, through all that it imports, besides Python's own library."""
    reached: set[str] = set()
    seen: set[str] = set()
    waiting = [(name, source)]
    while waiting:
        for target in imported(*waiting.pop()):
            parts = target.split(".")
            inside = [".".join(parts[: n + 1]) for n in range(len(parts))]
            for each in (module for module in inside if module in modules()):
                if each not in seen:
                    seen.add(each)
                    waiting.append((each, modules()[each].read_text()))
            if inside[0] not in modules():
                reached.add(inside[0])
    return reached - sys.stdlib_module_names - own


HARNESS = sorted(name for name in modules() if is_below(name, ("harness",)))
PURE = [
    name for name in HARNESS
    if (package := package_of(name)) is not None and LEVELS[package] < FIRST_ACTING_LEVEL
]  # fmt: skip
# Statistics of what a history has: pure, though they stand where the history is.
PURE_HISTORY = [
    f"harness.campaign.history.{name}"
    for name in (
        "records",
        "rates",
        "drift",
        "trends",
        "whats_new",
        "history_json",
        "telling",
        "retention",
    )
]
# What is said of a night, and how long it is kept.
PURE_NIGHTS = [
    f"harness.campaign.nights.{name}"
    for name in ("view", "telling", "text", "reporting", "retention")
]
IMAGES = sorted(name for name in modules() if is_below(name, ("kvm_images",)))


def text_of(name: str) -> str:
    return modules()[name].read_text()


# The project as it is.


def test_every_package_of_the_harness_has_a_level() -> None:
    packages = {path.name for path in (REPO / "harness").iterdir() if any(path.glob("*.py"))}
    loose = {path.stem for path in (REPO / "harness").glob("*.py")}
    assert packages == set(LEVELS)
    assert loose == {"__init__", "errors", "processes"}


@pytest.mark.parametrize("name", HARNESS)
def test_harness_imports_go_downwards_only(name: str) -> None:
    assert wrong_imports(name, text_of(name)) == []


@pytest.mark.parametrize("name", PURE)
def test_pure_module_opens_prints_and_draws_nothing(name: str) -> None:
    assert wrong_actions(text_of(name)) == []


@pytest.mark.parametrize("name", PURE_HISTORY)
def test_statistics_of_a_history_reach_nothing_that_acts(name: str) -> None:
    harmless = (*HARMLESS, "statistics", "harness.verdict", *PURE_HISTORY)
    assert [
        target for target in imported(name, text_of(name)) if not is_below(target, harmless)
    ] == []
    assert wrong_actions(text_of(name)) == []


@pytest.mark.parametrize("name", PURE_NIGHTS)
def test_what_is_said_of_a_night_reaches_nothing_that_acts(name: str) -> None:
    harmless = (
        *HARMLESS, "statistics", "shlex", "time.gmtime", "time.strftime", "pathlib.Path",
        "harness.verdict", "harness.errors", "harness.campaign.reports.model", *PURE_HISTORY,
        *PURE_NIGHTS,
    )  # fmt: skip
    reached = [t for t in imported(name, text_of(name)) if not is_below(t, harmless)]
    assert reached == []
    assert wrong_actions(text_of(name)) == []


@pytest.mark.parametrize("name", IMAGES)
def test_images_use_errors_storage_and_processes_of_the_harness(name: str) -> None:
    assert wrong_imports(name, text_of(name)) == []


@pytest.mark.parametrize("name", STAND_ALONE)
def test_stand_alone_program_reaches_the_standard_library_only(name: str) -> None:
    assert strangers(name, text_of(name), STAND_ALONE[name]) == set()


@pytest.mark.parametrize("name", INDEPENDENT)
def test_independent_writer_imports_nothing_of_the_harness(name: str) -> None:
    assert wrong_imports(name, text_of(name)) == []
    assert strangers(name, text_of(name), frozenset()) == set()
    assert not [target for target in imported(name, text_of(name)) if "harness" in target]


def test_every_module_is_short_enough() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert len(lines) > 50, "the modules were not found"
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


# The rules can fail.


@pytest.mark.parametrize(
    "line",
    [
        "import subprocess", "import os", "import os.path", "from os import path", "import io",
        "from pathlib import Path", "import time", "import datetime", "import socket",
        "import tempfile", "import shutil", "import secrets", "import uuid", "import threading",
        "import importlib", "def late() -> None:\n    import subprocess", "import sh",
        "import harness.storage.images", "from harness.storage import images",
        "from harness import storage", "from ..storage import images", "from harness import vm",
        "from harness.processes import child", "from harness import processes",
        "from harness.campaign.crash import run_crash", "from harness.verdict import verdict",
        "import harness.new_package", "from tools import cli", "import kvm_images.store",
        "from testcases.journal_writer import Ring", "import conftest",
    ],
)  # fmt: skip
def test_forbidden_import_in_a_pure_module_is_caught(line: str) -> None:
    name = "harness.recovery.plan"
    assert wrong_imports(name, text_of(name)) == []
    assert len(wrong_imports(name, f"{text_of(name)}\n{line}\n")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "DRAWN = random.random()", "random.seed(1)", "CHOICE = random.Random()",
        "from random import choice", "import random as r\nDRAWN = r.randrange(3)",
        "from random import Random\nCHOICE = Random()", "CHOICE = random.SystemRandom()",
        "FILE = open('x')", "print('x')", "import numpy as np\nA = np.fromfile('x')",
        "import numpy\nA = numpy.random.rand()", "from numpy import fromfile",
        "from numpy.random import random", "bytes_.tofile('x')", "OS = __import__('os')",
        "exec('import os')",
    ],
)  # fmt: skip
def test_forbidden_action_in_a_pure_module_is_caught(line: str) -> None:
    text = text_of("harness.crash.states")
    assert wrong_actions(text) == []
    assert len(wrong_actions(f"{text}\n{line}\n")) >= 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("harness.errors", "from harness.ondisk import crc"),
        ("harness.processes", "from harness.storage import images"),
        ("harness.ondisk.crc", "from harness.recovery import era"),
        ("harness.recovery.scan", "from harness.crash import trace"),
        ("harness.crash.trace", "from harness.recovery import scan"),
        ("harness.verdict.verdict", "from harness.storage import images"),
        ("harness.storage.images", "from harness.hosts import host"),
        ("harness.hosts.host", "from harness.vm import guest"),
        ("harness.vm.guest", "from harness.md import array"),
        ("harness.md.array", "from harness.storage import images"),
        ("harness.storage.images", "from harness.campaign import lab"),
        ("harness.campaign.lab", "from kvm_images import store"),
        ("kvm_images.store", "from harness.recovery.plan import plan_recovery"),
        ("kvm_images.store", "import harness.vm.guest"),
        ("kvm_images.store", "from tools import cli"),
        ("testcases.journal_writer", "from harness.errors import BadInput"),
        ("testcases.independent_geometry", "from testcases.lab import Lab"),
    ],
)
def test_forbidden_import_between_layers_is_caught(name: str, line: str) -> None:
    before = wrong_imports(name, text_of(name))
    assert len(wrong_imports(name, f"{text_of(name)}\n{line}\n")) == len(before) + 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("harness.vm.guest", "from harness.hosts import host"),
        ("harness.md.array", "from harness.hosts.host import Host"),
        ("harness.storage.images", "from harness.processes import child"),
        ("harness.recovery.plan", "from harness.errors import BadInput"),
        ("harness.recovery.plan", "from .scan import Log"),
        ("harness.verdict.verdict", "from harness.crash import trace"),
        ("kvm_images.store", "from harness.processes import child"),
    ],
)
def test_what_the_layers_allow_is_allowed(name: str, line: str) -> None:
    before = wrong_imports(name, text_of(name))
    assert wrong_imports(name, f"{text_of(name)}\n{line}\n") == before


@pytest.mark.parametrize("name", STAND_ALONE)
@pytest.mark.parametrize(
    ("line", "stranger"),
    [
        ("import click", "click"), ("from numpy import array", "numpy"),
        ("from harness.ondisk.crc import kernel_crc32c", "crc32c"),
        ("from harness.recovery import parity", "numpy"),
    ],
)  # fmt: skip
def test_stranger_in_a_stand_alone_program_is_caught(name: str, line: str, stranger: str) -> None:
    assert strangers(name, f"{text_of(name)}\n{line}\n", STAND_ALONE[name]) == {stranger}
