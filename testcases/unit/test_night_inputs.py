"""Inputs of units: sent as what they hold, kept in the cache of whoever gets them."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
from pathlib import Path

import pytest

from harness.campaign.nights.inputs import KEPT_S, InputFile, input_of, received

CONTENT = b"kernel" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InputFile:
    """A file that is to be sent, and another machine's cache."""
    monkeypatch.setenv("MDJOURNAL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "vmlinuz"
    path.write_bytes(CONTENT)
    return input_of(path)


def arrived(sent: InputFile) -> InputFile:
    """Send it as Dask does: with its content beside the pickle."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(sent, protocol=5, buffer_callback=buffers.append)
    assert len(data) < 1000
    found = pickle.loads(data, buffers=[bytes(each.raw()) for each in buffers])
    assert isinstance(found, InputFile)
    return found


def test_a_file_is_sent_by_its_content_and_kept_by_its_hash(sent: InputFile) -> None:
    assert sent.sha256 == SHA256
    there = arrived(sent)
    assert there.path != sent.path
    assert (there.path.name, there.path.read_bytes()) == (SHA256, CONTENT)
    # And from there to the next one.
    sent.path.unlink()
    there.path.rename(there.path.with_name("moved"))
    assert arrived(InputFile(there.path.with_name("moved"), SHA256)).path.read_bytes() == CONTENT


def test_what_is_there_is_not_written_again(sent: InputFile) -> None:
    path = arrived(sent).path
    os.utime(path, (0, 0))
    written = path.stat().st_ino
    assert arrived(sent).path.stat().st_ino == written
    assert path.stat().st_mtime > 0  # it is in use


def test_what_came_as_something_else_is_refused(sent: InputFile) -> None:
    assert received(SHA256, b"other").problem.endswith("cannot be kept: it came as something else")
    assert not (sent.path.parent / "cache" / "inputs").exists()


def test_what_nobody_asks_for_any_more_goes(sent: InputFile) -> None:
    old, new = arrived(sent).path, sent.path.with_name("new")
    os.utime(old, (time.time() - KEPT_S - 60,) * 2)
    new.write_bytes(b"new")
    arrived(input_of(new))
    assert [each.read_bytes() for each in old.parent.iterdir()] == [b"new"]


def test_a_full_disk_is_told(sent: InputFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    # Dask waits for ever for what cannot be unpickled: it arrives, and says what is wrong.
    there = arrived(sent)
    assert "no space left" in there.problem
    # And so does who gets it from there.
    assert arrived(there).problem == there.problem
