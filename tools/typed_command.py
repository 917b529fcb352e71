"""The command as it was typed, or with other values: what a report tells one to repeat."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Iterator, Sequence

import click

from tools.report_files import FORMATS

_REPORTS = frozenset(f"--{name}" for name in FORMATS)


def typed_command(*instead: str, without: Collection[str] = (), names: bool = True) -> str:
    """Return the command line of the command that runs now.

    Args:
        instead: words behind it.
        without: options that are left out, besides those of reports.
        names: whether what is no option is repeated.
    """
    context = click.get_current_context()
    levels = context.command_path.count(" ")  # how many words name the command
    words = sys.argv[1:]
    kept = _kept_words(context.command, words[levels:], _REPORTS.union(without), names=names)
    return shlex.join(["tools/mdjournal", *words[:levels], *kept, *instead])


def _kept_words(
    command: click.Command, words: Sequence[str], without: Collection[str], *, names: bool
) -> Iterator[str]:
    options = {
        name: parameter
        for parameter in command.params if isinstance(parameter, click.Option)
        for name in parameter.opts
    }  # fmt: skip
    waiting = iter(words)
    for word in waiting:
        name, equals, _ = word.partition("=")
        if (option := options.get(name)) is None:
            if names or word.startswith("-"):
                yield word
            continue
        mine = [word]
        if not equals and not option.is_flag:
            mine += [value for _, value in zip(range(option.nargs), waiting, strict=False)]
        if name not in without:
            yield from mine
