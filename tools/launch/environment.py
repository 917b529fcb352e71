"""Virtual environments made from a lock file: once, hash-checked, whole or not at all.

The start that finds its environment complete imports nothing that is slow: whatever is needed only
for building is imported where it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

from harness.errors import Unavailable
from harness.storage.directories import cache_root

_COMPLETE = "complete"
_BYTECODE = "bytecode"
_BUILDING = "building-"
_DAY_S = 86400
_KEPT_UNUSED_S = 30 * _DAY_S
# The largest, that of the tests, takes 300 MB; a pip that fills the disk cannot say so in its log.
_NEEDED_MB = 500


def environment_of(lock_file: Path) -> Path:
    """The folder of the environment for a lock file and this very interpreter."""
    digest = hashlib.sha256(lock_file.read_bytes())
    digest.update(sys.version.encode())
    digest.update(os.path.realpath(sys.executable).encode())
    return cache_root() / "venv" / digest.hexdigest()[:12]


def python_of(environment: Path) -> Path:
    """The interpreter inside an environment."""
    return environment / "bin/python"


def variables_for(environment: Path) -> dict[str, str]:
    """This process's variables, for an environment's Python that keeps its bytecode in there."""
    variables = {**os.environ, "PYTHONPYCACHEPREFIX": str(environment / _BYTECODE)}
    # Who sets this wants no bytecode among the sources; without any each start costs 0.2 s more.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def ensure_environment(lock_file: Path, announcement: str) -> Path:
    """The environment for a lock file, built first if need be; ``announcement`` is said then.

    Raises Unavailable, with nothing left behind, when it cannot be built.
    """
    environment = environment_of(lock_file)
    if _is_complete(environment):
        return environment
    from tools.launch.processes import locked, say

    environment.parent.mkdir(parents=True, exist_ok=True)
    with locked(environment.parent / "lock", "it sets up a Python environment"):
        if not _is_complete(environment):
            say(announcement)
            _remove_leftovers(environment)
            _require_space(environment.parent)
            _build(environment, lock_file)
    return environment


def _is_complete(environment: Path) -> bool:
    marker = environment / _COMPLETE
    try:
        unused_s = time.time() - marker.stat().st_mtime
    except FileNotFoundError:
        return False
    if unused_s > _DAY_S:
        with contextlib.suppress(OSError):  # somebody else's cache: read-only is good enough
            os.utime(marker)
    return True


def _remove_leftovers(environment: Path) -> None:
    """What a killed start left, and environments that nobody used for a month. Under the lock."""
    for other in environment.parent.iterdir():
        if other.name.startswith(_BUILDING) or other == environment or _is_unused(other):
            shutil.rmtree(other, ignore_errors=True)


def _is_unused(environment: Path) -> bool:
    try:
        return time.time() - (environment / _COMPLETE).stat().st_mtime > _KEPT_UNUSED_S
    except OSError:
        return False


def _require_space(folder: Path) -> None:
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < _NEEDED_MB:
        raise Unavailable(
            f"{folder}: {free_mb} MB free, a Python environment needs {_NEEDED_MB};"
            "\n  make room, or name another folder: MDJOURNAL_CACHE=FOLDER"
        )


def _build(environment: Path, lock_file: Path) -> None:
    import tempfile
    import venv

    from tools.launch import pip

    building = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=environment.parent))
    try:
        building.chmod(0o755)  # mkdtemp's 0700 would shut other users out of a shared cache
        venv.EnvBuilder(with_pip=False, symlinks=True).create(building)
        scratch = building / "scratch"
        scratch.mkdir()
        pip.install(lock_file, python=python_of(building), scratch=scratch)
        _compile(building, environment, scratch / "compile.log")
        shutil.rmtree(scratch)
        (building / _COMPLETE).touch()
        building.rename(environment)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _compile(building: Path, environment: Path, log: Path) -> None:
    """Compile the installed modules to where Python will look for them after the rename."""
    from tools.launch.processes import run

    bytecode = building / _BYTECODE
    # A template that is no valid module fails to compile and matters to nobody: no status is asked.
    run(
        [
            python_of(building), "-m", "compileall", "-q",
            "-j", "0",
            "-x", r"/site-packages/(pip|setuptools|pkg_resources)/",
            building / "lib",
        ],
        log=log,
        environment=variables_for(building),
    )  # fmt: skip
    compiled = bytecode / building.relative_to("/")
    if compiled.is_dir():
        compiled.rename(bytecode / environment.relative_to("/"))
