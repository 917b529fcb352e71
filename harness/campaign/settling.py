"""Wait until md has written down what a recovery came to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from harness.campaign.lab import Session
from harness.errors import BadImage
from harness.md.array import live_journal_tail
from harness.storage.images import read_superblock

# The superblocks are written by md's threads some time after the array is up (format document,
# 4.1 step 12). This is a limit against a hang and no expectation: mostly it takes milliseconds.
SETTLE_DEADLINE_S = 120.0
_POLL_S = 0.01


def wait_until_settled(lab: Session, live: Mapping[str, Path]) -> bool:
    """Wait until the journal's superblock on disk says what the kernel has in memory.

    Also all devices' superblocks must have counted the same events: an update in progress has
    reached some and not others. Nothing of the model's prediction enters here.

    Returns:
        False when that did not come about before the deadline.
    """
    assert lab.nodes.journal is not None
    deadline = time.monotonic() + SETTLE_DEADLINE_S
    while time.monotonic() < deadline:
        try:
            superblocks = [read_superblock(path) for path in live.values()]
        except BadImage:  # caught in the middle of being written
            superblocks = []
        if len({superblock.events for superblock in superblocks}) == 1:
            (tail,) = (s.journal_tail for s in superblocks if s.is_journal)
            if tail == live_journal_tail(lab.guest, lab.nodes.journal):
                return True
        time.sleep(_POLL_S)
    return False
