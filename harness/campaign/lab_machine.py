"""A machine of the user's that stories run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.hosts.ssh import SshHost


@dataclass(frozen=True, slots=True, kw_only=True)
class LabMachine:
    """A machine to run stories on."""

    name: str  # as it was asked for
    connect: Callable[[], SshHost]
    agent: Mapping[str, bytes]  # files of the agent, by path below its folder
    rules: str  # of udev, while a story runs
    can_cut: bool  # it has dm-log-writes, which records what a power cut loses
    disks: tuple[str, ...] = ()  # to be used one after another; else loop devices are
