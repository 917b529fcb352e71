"""What every start of `mdjournal` does: packages, environment, then the real program takes over."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from harness.errors import EXIT_INTERRUPTED, EXIT_MISUSE, HarnessError
from harness.storage.directories import cache_root
from tools.launch.environment import ensure_environment, python_of, variables_for

_OF_THEIR_OWN = ("images build-kernel",)  # need what the rest of their group does not
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CACHE_IS_UNFIT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def start(root: Path, arguments: list[str]) -> int:
    """Become the real program; an exit status only where that fails."""

    def become_program() -> NoReturn:
        _require_packages(arguments)
        environment = ensure_environment(
            root / "tools/requirements/runtime.lock",
            "setting up its Python environment (once) ...",
        )
        _hand_over(root, environment, arguments)

    return status_of(become_program)


def status_of(action: Callable[[], NoReturn]) -> int:
    """The exit status of an action that was to become another program and did not get there."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    try:
        action()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except HarnessError as error:
        return _fail(str(error), error.exit_status)
    except OSError as error:
        unfit = error.errno in _CACHE_IS_UNFIT
        hint = ";\n  name another folder for the caches: MDJOURNAL_CACHE=FOLDER" if unfit else ""
        place = error.filename or cache_root()
        return _fail(f"{place}: {error.strerror or error}{hint}", EXIT_MISUSE)


def needed_by(arguments: list[str]) -> str | None:
    """The subcommand that will do something; None where help or a version is all that is asked."""
    if "--" in arguments:
        arguments = arguments[: arguments.index("--")]
    if "--help" in arguments:
        return None
    words = [word for word in arguments if not word.startswith("-")]
    pair = " ".join(words[:2])
    return pair if pair in _OF_THEIR_OWN else next(iter(words), None)


def _require_packages(arguments: list[str]) -> None:
    subcommand = needed_by(arguments)
    if subcommand is not None:
        from tools.launch.debian import require_packages

        require_packages(subcommand)


def _hand_over(root: Path, environment: Path, arguments: list[str]) -> NoReturn:
    variables = variables_for(environment)
    paths = [str(root), *filter(None, [variables.get("PYTHONPATH")])]
    variables["PYTHONPATH"] = os.pathsep.join(paths)
    python = python_of(environment)
    # From here until tools.cli has its handlers a signal waits, instead of killing without a word.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    os.execve(python, [str(python), "-P", "-m", "tools.cli", *arguments], variables)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"mdjournal: {message}\n")
    return status
