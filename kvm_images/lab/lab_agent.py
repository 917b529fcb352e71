"""The lab's agent: what a tiny guest's agent can, on a machine that is not ours.

Speaks over its standard input and output, runs on the standard library alone, and takes everything
back that it made once its input ends, however that came about.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

if __name__ == "__main__":  # there; on a host the package's own path is used
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))

from kvm_images.guest import agent
from kvm_images.lab import disk_looks
from kvm_images.lab.benches import Bench

Answer = dict[str, Any]

_benches: list[Bench] = []


def bench_build(*, rules: str, disks: list[Answer], records: bool) -> Answer:
    """Make the disks of a story; see `Bench.build`."""
    _benches.append(Bench(rules))
    return {"nodes": _benches[-1].build(disks, records=records), "folder": _benches[-1].folder}


def bench_cut(*, volatile: list[str]) -> Answer:
    """Take the power away; see `Bench.cut`."""
    return {"nodes": _benches[-1].cut(volatile=volatile)}


def bench_blocks(*, name: str, deadline_s: float) -> Answer:  # noqa: ARG001
    """Return the blocks of a disk that are not all zeroes: number and hexadecimal text."""
    return {"blocks": [[number, block.hex()] for number, block in _benches[-1].blocks(name)]}


def bench_down() -> Answer:
    """Remove the disks of a story."""
    while _benches:
        _benches.pop().tear_down()
    return {}


VERBS: dict[str, Any] = {
    function.__name__: function
    for function in (
        bench_build, bench_cut, bench_blocks, bench_down,
        disk_looks.look_at_machine, disk_looks.look_at_disk,
    )
}  # fmt: skip


def main() -> None:
    """Answer requests until there are no more."""
    agent.VERBS.update(VERBS)
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever prints, it is no answer
    try:
        for line in sys.stdin.buffer:
            left = agent.answer(line)
            while left:
                left = left[os.write(answers, left) :]
    finally:
        with contextlib.suppress(Exception):  # nobody is left who could be told
            bench_down()


if __name__ == "__main__":
    main()
