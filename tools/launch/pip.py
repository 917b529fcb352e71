"""Get pip from wherever this machine has one, and install a lock file with it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from harness.errors import Unavailable
from tools.launch import debian, index
from tools.launch.processes import last_lines, run

# Options that would send the packages elsewhere than into the environment.
_MISLEADING = {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT", "PIP_PYTHON"}


def install(lock_file: Path, *, python: Path, scratch: Path) -> None:
    """Install what a lock file pins into the environment of ``python``; raises Unavailable."""
    log = scratch / "pip.log"
    pip = _pip(python, scratch, log)
    # fmt: off
    command: list[str | Path] = [
        *pip, "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-user",
        "--no-compile", "--require-hashes",
        "--only-binary", ":all:",
        "--requirement", lock_file,
    ]
    # fmt: on
    status = run(command, log=log, environment=_variables())
    if status and _lacks_certificates(log) and (bundle := debian.certificates(scratch)):
        status = run([*command, "--cert", bundle], log=log, environment=_variables())
    if status:
        raise Unavailable(_why(lock_file, log))


def _variables() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in _MISLEADING
    }


def _pip(python: Path, scratch: Path, log: Path) -> list[str | Path]:
    """The command that runs pip for the new environment: the first way that this machine has."""
    if (
        _has("ensurepip")
        and run([python, "-m", "ensurepip"], log=log, environment=_variables()) == 0
    ):
        return [python, "-m", "pip"]
    if _has("pip"):
        return [sys.executable, "-P", "-m", "pip", "--python", python]
    wheel = debian.pip_wheel(scratch) or index.pip_wheel(scratch)
    if wheel is None:
        said = debian.why_none(scratch) or "apt: not asked"
        raise Unavailable(
            f"{sys.executable} has neither ensurepip nor pip, and neither apt nor PIP_INDEX_URL"
            f" leads to one; install its venv module with pip (Debian: python3-venv)\n  {said}"
        )
    return [python, wheel / "pip"]


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _lacks_certificates(log: Path) -> bool:
    # Debian's pip has no certificates of its own and a bare Debian no ca-certificates.
    return bool(last_lines(log, lambda line: "TLS CA certificate bundle" in line, 1))


def _why(lock_file: Path, log: Path) -> str:
    broken = "connection broken by "
    retried = last_lines(log, lambda line: broken in line, 1)
    cause = [line[line.index(broken) :] for line in retried]
    error = last_lines(log, lambda line: line.startswith("ERROR"), 1)
    lines = [*cause, *error] or last_lines(log, lambda _: True, 2) or ["pip said nothing"]
    return f"installing {lock_file.name} failed: " + "\n  ".join(lines)
