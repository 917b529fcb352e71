"""What a lab machine is given while stories run on it: the agent's files."""

from __future__ import annotations

from pathlib import Path

from kvm_images.tiny_guest import AGENT_FILES

REPOSITORY = Path(__file__).resolve().parent.parent
_LAB = Path(__file__).resolve().parent / "lab"
_MODULES = (
    *AGENT_FILES,
    "harness/errors.py",
    "harness/crash/log_writes.py",
    "harness/crash/trace.py",
    "kvm_images/guest/agent.py",
    "kvm_images/lab/__init__.py",
    "kvm_images/lab/benches.py",
    "kvm_images/lab/disk_looks.py",
)


def agent_files() -> dict[str, bytes]:
    """Every file of the agent, by its path below the agent's folder."""
    files = {name: (REPOSITORY / name).read_bytes() for name in _MODULES}
    return files | {"lab_agent.py": (_LAB / "lab_agent.py").read_bytes()}


def udev_rules() -> str:
    """The rules that keep the machine's udev from assembling what stories assemble."""
    return (_LAB / "63-mdjournal.rules").read_text()
