"""The connection to QEMU's monitor: whatever becomes of it, nothing of it is left."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest
from qemu.qmp import QMPError

from harness.vm.monitor import Monitor


def test_a_qemu_that_is_not_there_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """An event loop that is left open is an error of this test, at the latest behind it."""
    errors: list[Exception] = []

    def connect() -> None:
        try:
            Monitor(tmp_path / "qmp")
        except (QMPError, OSError) as error:
            errors.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join(60)
    gc.collect()
    (error,) = errors
    with pytest.raises((QMPError, OSError), match="No such file"):
        raise error
