"""`python -m tools.launch.within LOCK ARGUMENTS...`: Python with what LOCK pins, installed once.

Every tox environment runs its programs through this. tox cannot share one environment between
several names, and six copies of the same packages would take minutes and a gigabyte.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from tools.launch.environment import ensure_environment, python_of, variables_for
from tools.launch.start import status_of

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"


def main(arguments: list[str]) -> int:
    """Become the environment's Python; an exit status only where that fails."""
    lock_file = REQUIREMENTS / f"{arguments[0]}.lock"

    def become_python() -> NoReturn:
        environment = ensure_environment(
            lock_file, f"setting up the Python environment of {lock_file.name} (once) ..."
        )
        python = python_of(environment)
        os.execve(python, [str(python), "-P", *arguments[1:]], variables_for(environment))

    return status_of(become_python)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
