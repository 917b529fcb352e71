"""`mdjournal test`: this project's own tests and linters, all through tox."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from harness.errors import EXIT_AGREES, EXIT_DIFFERS
from harness.storage.directories import cache_root
from tools.launch.environment import ensure_environment, python_of, variables_for

ROOT = Path(__file__).resolve().parent.parent
EVERYTHING = "lint,type,shell,unit,meta,guest"

_CLEAN_UP_S = 60


@click.command(short_help="Run this project's own tests.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- PYTEST-ARGUMENTS...]")
def test(arguments: tuple[str, ...]) -> int:
    """Run this project's own tests: all of them, linters and real kernels included.

    With arguments after `--` only pytest runs, with these: `mdjournal test -- testcases/unit -k
    geometry`. Paths among them start at the top of the checkout.
    """
    requirements = ROOT / "tools/requirements"
    tox = ensure_environment(requirements / "tox.lock", "setting up tox (once) ...")
    ensure_environment(
        requirements / "test.lock", "setting up the Python environment of the tests (once) ..."
    )
    chosen = ["-e", "pytest", "--", *arguments] if arguments else ["-e", EVERYTHING]
    runs = cache_root() / "tox"
    runs.mkdir(parents=True, exist_ok=True)
    # tox locks nothing: two test runs at once must not share what it writes.
    work = Path(tempfile.mkdtemp(prefix="run-", dir=runs))
    try:
        status = _run(
            [
                str(python_of(tox)), "-P", "-m", "tox", "run",
                "--conf", str(ROOT / "tox.ini"),
                "--workdir", str(work),
                *chosen,
            ],
            {**variables_for(tox), "MDJOURNAL_CACHE": str(cache_root())},
        )  # fmt: skip
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return EXIT_AGREES if status == 0 else EXIT_DIFFERS


def _run(command: Sequence[str], variables: dict[str, str]) -> int:
    # A session of its own, so that tox is interrupted once, by us: a second Ctrl-C makes it kill
    # pytest before that has cleaned up.
    sys.stdout.flush()
    with subprocess.Popen(command, env=variables, start_new_session=True) as tox:
        try:
            return tox.wait()
        except BaseException:
            tox.send_signal(signal.SIGINT)
            try:
                tox.wait(timeout=_CLEAN_UP_S)
            except subprocess.TimeoutExpired:
                os.killpg(tox.pid, signal.SIGKILL)
            raise
