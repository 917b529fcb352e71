"""Build a debug kernel from Debian's kernel source: in a folder of the cache, whole or not at all.

The source is a package of the archive, the configuration the ``.config`` files beside this module
over ``make allnoconfig``. What is built goes to the other kernels; the tree that it was built in is
gone afterwards, and the log stays.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import BadInput, Unavailable
from harness.processes import child
from harness.storage.directories import cache_root
from kvm_images import archive, store
from kvm_images.archive import Package, writing
from kvm_images.debug_kernel import configuration
from kvm_images.debug_kernel.source import PACKAGE_PREFIX, branch_of, choose_source
from kvm_images.kernels import CATALOGUE, Candidate, Kernel, debug_name, own_build
from kvm_images.shelf import Say, Shelf

NEEDED_BYTES = 5 << 30  # 2.0 GB of source and 0.9 GB of what is built, and some to spare

_FRAGMENTS = Path(__file__).resolve().parent
_BASE = "debug.config"
_VERSION_SUFFIX = "+debug"  # behind Debian's, so that neither is taken for the other
_RECIPE = 1  # part of what a build is known by: a change of the steps makes another kernel
_LISTS_MAX_AGE_S = 3600.0
_POLL_S = 0.2
_KEPT_TAIL_BYTES = 1 << 16

Watch = Callable[[str], None]

# Who builds, where and when is left out of the kernel: the same source gives the same bytes.
_ENVIRONMENT = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "mdjournal",
    "KBUILD_BUILD_HOST": "mdjournal",
    "LC_ALL": "C.UTF-8",
}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be built, of what, and what tells it from any other build."""

    name: str  # of the catalogue
    package: Package
    wanted: dict[str, str]  # options
    recipe: str  # sha256, hex


@dataclass(frozen=True, slots=True)
class _Workshop:
    """Where it is built, and who is told."""

    place: Path
    log: Path
    jobs: int
    say: Say
    watch: Watch

    @property
    def tree(self) -> Path:
        """The kernel's source, and what is built of it."""
        return self.place / "linux"


def build(name: str, *, jobs: int, again: bool, say: Say, watch: Watch) -> Kernel:
    """Return the debug kernel of a catalogue name, built unless it is there.

    Args:
        name: of the catalogue; what it stands for in the archive now is built.
        jobs: how many compilers run at once.
        again: build even if one of the same source, options and compiler is there.
        say: takes a line per step.
        watch: takes a line about how far a step has come, many times a second.

    Raises:
        BadInput: an unknown name.
        Unavailable: no source, no room, an option that this source does not have, or make failed.
    """
    plan = _plan(name, say=say)
    source = f"{plan.package.name} {plan.package.version} from {plan.package.suite}"
    there = store.built(debug_name(name), plan.recipe)
    if there is not None and not again:
        say(f"kernel {debug_name(name)} is {there.version}, built before, of {source}")
        return there
    shelf = Shelf(cache_root() / "kernel-builds")
    with shelf.filling(say=say):
        _require_room(shelf.root)
        with shelf.scratch() as place:
            workshop = _Workshop(place, _new_log(debug_name(name)), jobs, say, watch)
            say(f"fetching {source} ({plan.package.size_bytes / 2**20:.0f} MiB)")
            _unpack(plan.package, workshop)
            _configure(plan, workshop)
            return _keep(plan, _compiled(workshop), say=say)


def fragments(version: configuration.Version) -> list[str]:
    """Return the texts of the ``.config`` files that are for a kernel, the general one first."""
    paths = sorted(_FRAGMENTS.glob("*.config"), key=lambda path: (path.name != _BASE, path.name))
    return [path.read_text() for path in paths if configuration.concerns(path.stem, version)]


def _plan(name: str, *, say: Say) -> _Plan:
    if name not in CATALOGUE:
        raise BadInput(f"no kernel {name!r}\nnext: use one of {', '.join(CATALOGUE)}")
    entry = CATALOGUE[name]
    listed: list[Package] = []
    for suite in entry.suites:
        archive.update(suite, max_age_s=_LISTS_MAX_AGE_S, say=say)
        listed += archive.packages(suite, PACKAGE_PREFIX)
    package = choose_source(entry, listed)
    if package is None:
        raise Unavailable(
            f"kernel {name}: no {PACKAGE_PREFIX}* of it in {', '.join(entry.suites)} at present\n"
            f"next: use another of {', '.join(CATALOGUE)}"
        )
    wanted = configuration.merged(fragments(branch_of(package)))
    parts = (package.sha256, configuration.as_text(wanted), _compiler(), str(_RECIPE))
    return _Plan(name, package, wanted, hashlib.sha256("\0".join(parts).encode()).hexdigest())


def _compiler() -> str:
    """Return the compiler's own name and version."""
    try:
        said = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable("no compiler: gcc does not run\nnext: apt-get install gcc") from error
    return said.stdout.partition("\n")[0]


def _require_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise Unavailable(
            f"{folder}: {free / 2**30:.1f} GiB free, building a kernel needs"
            f" {NEEDED_BYTES / 2**30:.0f}\n"
            "next: free some, or set MDJOURNAL_CACHE to a folder on another file system"
        )


def _new_log(name: str) -> Path:
    log = cache_root() / "logs" / f"build-kernel-{name}.log"
    with writing(log.parent):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
    return log


def _unpack(package: Package, workshop: _Workshop) -> None:
    """Fetch the package and unpack its source tree."""
    place = workshop.place
    archive.unpack(archive.download(package, place), place / "package")
    (tarball,) = (place / "package/usr/src").glob("linux-source-*.tar.xz")
    workshop.tree.mkdir()
    command = ["tar", "--extract", "--file", str(tarball), "--strip-components", "1"]
    _run([*command, "--directory", str(workshop.tree)], "unpacking", workshop)


def _configure(plan: _Plan, workshop: _Workshop) -> None:
    """Make the ``.config``, and see that nothing of what is wanted is missing in it."""
    given = workshop.place / "wanted.config"
    given.write_text(configuration.as_text(plan.wanted))
    _make(["allnoconfig", f"KCONFIG_ALLCONFIG={given}"], workshop)
    found = configuration.parse_options((workshop.tree / ".config").read_text())
    if dropped := configuration.dropped(plan.wanted, found):
        raise Unavailable(
            f"kernel {plan.name}: {plan.package.name} {plan.package.version} does not take"
            f" {', '.join(map(str, dropped))}\n"
            f"next: build another of {', '.join(CATALOGUE)}, or change {_FRAGMENTS}/*.config"
        )


def _compiled(workshop: _Workshop) -> Path:
    """Compile, and return the folder with the kernel as a package would have it."""
    made = workshop.place / "made"
    began = time.monotonic()
    _make(["bzImage", "modules"], workshop)
    workshop.say(f"compiled in {(time.monotonic() - began) / 60:.1f} min")
    made.mkdir()
    # Nothing here runs depmod's index: the guest loads what it needs in the order of its image.
    _make(["modules_install", f"INSTALL_MOD_PATH={made}", "DEPMOD=true"], workshop)
    (folder,) = (made / "lib/modules").iterdir()
    for link in ("build", "source"):
        (folder / link).unlink(missing_ok=True)
    (made / "boot").mkdir()
    shutil.copy(workshop.tree / "arch/x86/boot/bzImage", made / f"boot/vmlinuz-{folder.name}")
    shutil.copy(workshop.tree / ".config", made / f"boot/config-{folder.name}")
    shutil.copy(workshop.tree / "System.map", made / f"boot/System.map-{folder.name}")
    return made


def _keep(plan: _Plan, made: Path, *, say: Say) -> Kernel:
    (image,) = (made / "boot").glob("vmlinuz-*")
    kernel = own_build(image, made)
    candidate = Candidate(
        release=kernel.release,
        version=plan.package.version + _VERSION_SUFFIX,
        suite=plan.package.suite,
        packages=(plan.package,),
    )
    return store.keep_built(
        debug_name(plan.name), made, candidate, built=replace(kernel, name=plan.name),
        recipe=plan.recipe, say=say,
    )  # fmt: skip


def _make(targets: Sequence[str], workshop: _Workshop) -> None:
    command = ["make", "-C", str(workshop.tree), f"-j{workshop.jobs}", *targets]
    _run(command, targets[0], workshop)


def _run(command: Sequence[str], what: str, workshop: _Workshop) -> None:
    """Run a command; what it says goes to the log, and how far it is to whoever watches."""
    with workshop.log.open("ab") as log:
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        at = log.tell()
        began = time.monotonic()
        with child(command, output=log, environment=os.environ | _ENVIRONMENT) as process:
            steps = 0
            while process.poll() is None:
                time.sleep(_POLL_S)
                said, at = _said_since(workshop.log, at)
                steps += len(said)
                if said:
                    minutes = (time.monotonic() - began) / 60
                    last = Path(said[-1].split()[-1]).name  # of a compiler's line, the file
                    workshop.watch(f"{what}: {steps} steps, {minutes:.1f} min, {last}")
    if process.returncode != 0:
        raise Unavailable(
            f"{what}: {command[0]} ended with {process.returncode}: {_reason(workshop.log)}\n"
            f"next: see the log, {workshop.log}"
        )


def _said_since(log: Path, at: int) -> tuple[list[str], int]:
    """Return the whole lines of a log from a place on, and the place behind them."""
    with log.open("rb") as file:
        file.seek(at)
        whole, newline, _ = file.read().rpartition(b"\n")
    lines = [line.strip() for line in whole.decode(errors="replace").splitlines()]
    return [line for line in lines if line], at + len(whole) + len(newline)


def _reason(log: Path) -> str:
    """Return the first error of the last lines of a log: what make says later follows from it."""
    text = log.read_bytes()[-_KEPT_TAIL_BYTES:].decode(errors="replace")
    telling = (line for line in text.splitlines() if re.search(r"error:|\*\*\*|Error \d", line))
    return next(telling, "it gave no reason").strip()
