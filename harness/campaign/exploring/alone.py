"""Nobody else explores the same at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from harness.errors import BadInput


@contextlib.contextmanager
def alone_in(
    folder: Path,
    otherwise: str = "the same exploration is going on; wait for it, or give another --seed",
) -> Iterator[None]:
    """Have an exploration's folder for oneself, made if it is not there; the kernel lets go of it
    however the process ends. *otherwise* is said to who comes second.

    Raises:
        BadInput: the same exploration is going on, or there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(f"{folder}: {error.strerror}; MDJOURNAL_RESULTS must be a folder") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BadInput(f"{folder}: {otherwise}") from None
    finally:
        os.close(descriptor)
