"""Every Python package that is installed is pinned, and its bytes are known beforehand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).resolve().parent.parent.parent / "tools/requirements"


def pins(name: str) -> dict[str, str]:
    text = (REQUIREMENTS / f"{name}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["runtime", "test", "tox"])
def test_each_requirement_has_a_hash(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize("name", ["runtime", "test", "tox"])
def test_no_lock_file_names_a_host_or_a_path(name: str) -> None:
    for suffix in ("lock", "in"):
        text = (REQUIREMENTS / f"{name}.{suffix}").read_text()
        assert not re.search(r"http|://|index-url|find-links|trusted-host|(^|[\s=])[/~]", text)


@pytest.mark.parametrize("name", ["runtime", "test", "tox"])
def test_all_that_is_wanted_is_pinned(name: str) -> None:
    wanted = re.findall(r"^[a-z].*$", (REQUIREMENTS / f"{name}.in").read_text(), re.MULTILINE)
    assert wanted
    assert {word.replace(".", "-") for word in wanted} <= pins(name).keys()


def test_tests_run_with_the_versions_that_users_get() -> None:
    assert pins("runtime").items() <= pins("test").items()
