"""Every error this project raises on purpose, and the exit status each one means.

A message is one or two lines: subject, place, found, wanted, then the next thing to do.
``ValueError`` stays for a caller's mistake inside the code.
"""

from __future__ import annotations

EXIT_AGREES = 0
EXIT_DIFFERS = 1
EXIT_MISUSE = 2
EXIT_LOST = 3
EXIT_INTERRUPTED = 130


class HarnessError(Exception):
    """Base of all: ``str()`` is fit to print after the command's name."""

    exit_status = EXIT_LOST


class BadInput(HarnessError):
    """What the person gave cannot be used: option, path, kernel name, output folder."""

    exit_status = EXIT_MISUSE


class BadImage(BadInput):
    """An image file is not what it should be: no md member, truncated, of another array."""


class DamagedImage(BadImage):
    """An image too damaged to be used: empty, cut short, without a good superblock or log."""


class Unavailable(HarnessError):
    """Something from outside could not be had: a package, disk space, an intact cache entry."""

    exit_status = EXIT_MISUSE


class CommandFailed(HarnessError):
    """A command on some host ended with another status than it should."""


class StepHangs(HarnessError):
    """A step of a workload never came back; the guest is alive, and has said where it hangs."""


class GuestLost(HarnessError):
    """The guest did not answer as a guest: no verdict about recovery follows from it."""


class GuestPanicked(GuestLost):
    """The guest's kernel panicked."""


class GuestOopsed(GuestLost):
    """The guest's kernel printed an Oops, a BUG or a general protection fault and lived on."""


class GuestVanished(GuestLost):
    """QEMU ended, or closed the agent's port, without having been asked to."""


class DeadlineMissed(GuestLost):
    """The guest is there and did not answer in time."""
