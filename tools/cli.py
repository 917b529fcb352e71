"""The command `mdjournal`: its subcommands, each imported only when it is asked for.

Whatever ends a subcommand is turned into an exit status and one or two lines here, and only here.
A subcommand returns None (done) or its exit status, and raises HarnessError for all else.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from harness.errors import EXIT_INTERRUPTED, EXIT_MISUSE, HarnessError

VERSION = "0.1.0"

SUBCOMMANDS = {
    "crash": ("tools.crash:crash", "Cut an array's power, let a real kernel recover, compare."),
    "explore": (
        "tools.explore:explore_command",
        "Let the kernel recover many crash states of one recording.",
    ),
    "fuzz": (
        "tools.fuzz:fuzz_command",
        "Feed journals at random, hostile ones above all, to driver and model.",
    ),
    "scenarios": ("tools.scenarios:scenarios", "List and run the stories of a journaled array."),
    "repro": ("tools.repro:repro", "Pack a red as one file; run, reduce, scrub, script it."),
    "bisect": ("tools.bisect:bisect", "Find the kernel that broke it: git, or packaged ones."),
    "dump": ("tools.dump:dump", "Print a write journal: text, JSON or a map."),
    "check": (
        "tools.check:check",
        "Explain an array's journal: what recovery will do, what is lost without it.",
    ),
    "replay": ("tools.replay:replay", "Write the images that recovery would leave."),
    "trace": ("tools.trace:trace", "Show, export and import recorded traces."),
    "history": ("tools.history:history", "What past nights said: show, trend, compare, prune."),
    "nightly": ("tools.nightly:nightly", "Run a plan within a budget; say what is new."),
    "kernels": ("tools.kernels:kernels", "List, fetch and remove kernels."),
    "images": ("tools.images:images", "List, build and remove guests."),
    "test": ("tools.test:test", "Run this project's own tests."),
}
"""Name, where the command is, and its line in --help (which imports none of them)."""

_NO_FAULT_OF_OURS = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM,
}  # fmt: skip
_EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(SUBCOMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        module, _, attribute = SUBCOMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is no click command")
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in SUBCOMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"max_content_width": 100})
@click.version_option(VERSION, prog_name="mdjournal")
def main() -> None:
    """Crash-test the write journal of Linux md RAID-4/5/6 against real kernels."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit status."""
    name = _full_name(arguments)
    try:
        hear_signals()
        with main.make_context("mdjournal", list(arguments)) as context:
            returned = main.invoke(context)
        sys.stdout.flush()
        return returned if isinstance(returned, int) else 0
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except HarnessError as error:
        return _fail(name, str(error), error.exit_status)
    except BrokenPipeError:
        # Nobody reads any more; without this Python complains when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno not in _NO_FAULT_OF_OURS:
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _fail(name, f"{place}{error.strerror}", EXIT_MISUSE)


def hear_signals() -> None:
    """Let SIGTERM and a lost terminal end a subcommand as Ctrl-C does, with all cleaning up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    # The launcher blocked them, so that none could come before there was somebody to hear it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _full_name(arguments: Sequence[str]) -> str:
    """How messages call the command: `mdjournal SUBCOMMAND`."""
    words = [word for word in arguments if word in SUBCOMMANDS]
    return " ".join(["mdjournal", *words[:1]])


def _fail(name: str, message: str, status: int) -> int:
    click.echo(f"{name}: {message}", err=True)
    return status


if __name__ == "__main__":
    status = run(sys.argv[1:])
    if status == EXIT_INTERRUPTED:
        # An interruption that came while a module made a dataclass, which executes a string, is
        # remembered by Python although it was handled: it would kill itself at its end.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
