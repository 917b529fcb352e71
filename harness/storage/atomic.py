"""Files that appear whole or not at all: a temporary name beside, then a rename."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give an empty file to fill; it becomes *target* if the block ends well, else it is gone.

    A device or a pipe, ``/dev/null`` say, is written to: nothing takes its place.
    """
    special = target.exists() and not target.is_file()
    folder = None if special else target.parent
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{target.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        if special:
            with temporary.open("rb") as made, target.open("wb") as device:
                shutil.copyfileobj(made, device)
        else:
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
