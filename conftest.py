"""Options and fixtures of all testcases."""

from __future__ import annotations

import pytest

from testcases.lab import Lab
from tools.launch.debian import missing_packages


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the project's own options."""
    group = parser.getgroup("mdjournal")
    group.addoption("--kernel", default="6.1", help="the kernel for testcases that need just one")
    group.addoption(
        "--require-guest",
        action="store_true",
        help="fail, instead of skipping, where a guest cannot run",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a guest testcase on a machine that lacks what a guest needs, or fail it if told so."""
    if item.get_closest_marker("guest") is None:
        return
    if missing := missing_packages("crash"):
        reason = f"not installed: {', '.join(missing)}"
        if item.config.getoption("--require-guest"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def kernel(pytestconfig: pytest.Config) -> str:
    """The kernel for testcases that need just one: --kernel."""
    return str(pytestconfig.getoption("--kernel"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab with real kernels; its folder goes with pytest's temporary folders."""
    return Lab(tmp_path_factory.mktemp("lab"))
