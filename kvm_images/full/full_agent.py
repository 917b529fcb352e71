"""The full guest's agent: all that the tiny guest's can, and verbs about files of a file system.

Runs beside systemd, as a service of its own, on the standard library alone.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # in the guest; on a host the package's own path is used
    sys.path.insert(0, "/mdjournal")

from kvm_images.full import filing, placing
from kvm_images.guest import agent


def main() -> None:
    """Answer requests for ever."""
    agent.VERBS.update(filing.VERBS | placing.VERBS)
    agent.serve(agent.open_port())


if __name__ == "__main__":
    main()
