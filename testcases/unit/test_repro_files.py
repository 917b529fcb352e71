"""What `repro` is given and where it writes: each misuse is refused at once, in a line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.campaign.exploring.exploration import STORE
from harness.campaign.exploring.recordings import WORKLOAD
from harness.campaign.exploring.store import (
    ChildRecord,
    ClassRecord,
    RecordingRecord,
    StateRecord,
    opened_store,
)
from harness.campaign.reproducing.bundle import Kind
from harness.campaign.reproducing.importing import import_bundle
from harness.campaign.reproducing.packing import pack
from harness.crash.workload import Workload
from harness.crash.workload_json import encode_workload
from harness.errors import BadInput
from harness.md.shape import Shape, encode_shape
from harness.storage.bundle_file import read_bundle
from testcases.unit.test_explore_summary import judged
from tools.repro import run_command
from tools.repro_options import require_writable, target_of


def test_what_is_no_file_is_not_written_over(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(BadInput, match="is no file"):
            target_of(path, force=True)
    (tmp_path / "x").touch()
    with pytest.raises(BadInput, match="is there already"):
        target_of(tmp_path / "x", force=False)
    assert target_of(tmp_path / "x", force=True) == tmp_path / "x"
    with pytest.raises(BadInput, match="folder is not there"):
        target_of(tmp_path / "no/x", force=True)


def test_a_folder_that_takes_no_file_is_named_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BadInput, match=r"/proc: cannot be written to"):
        target_of(Path("/proc/x.mdjr"), force=False)
    with pytest.raises(BadInput, match=r"/proc/no: cannot be written to"):
        require_writable(Path("/proc/no"))
    monkeypatch.setenv("MDJOURNAL_RESULTS", "/proc/no")
    done = CliRunner().invoke(run_command, ["no.mdjr"])
    assert isinstance(done.exception, BadInput)


def test_a_fifo_is_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.mdjr")
    with pytest.raises(BadInput, match="no regular file"):
        read_bundle(tmp_path / "x.mdjr")


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no\.img: cannot be opened"):
        import_bundle([tmp_path / "no.img"], kernel="6.1", reported="")


RUN = {
    "schema": 1, "command": "explore", "made_by": "x", "seed": 1, "jitter_us": 0, "lying": [],
    "kernel": {"name": "6.1", "release": "r", "version": "6.1.192-2", "identity": "",
               "module_sha256": "", "replaced": []},
    "guest": {"kind": "tiny", "accelerator": "tcg", "mdadm": "", "memory_mib": 1}, "shape": {},
}  # fmt: skip


@pytest.mark.parametrize("text", ["{}", "[]", "1", '{"x', '{"kernel": 1, "guest": 2}'])
def test_a_run_that_is_half_written_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadInput, match="run it again"):
        pack(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"reproducer.json": '{"verdict": 5}'},
        {"reproducer.json": "{}"},
        {"verdict.json": "{}"},
        {},
    ],
)
def test_a_red_that_is_half_written_is_refused(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    red = tmp_path / "smallest-0"
    red.mkdir()
    for name, text in files.items():
        (red / name).write_text(text)
    with pytest.raises(BadInput, match=r"smallest-0"):
        pack(red)


def test_packing_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    with pytest.raises(BadInput, match="nothing in it is red"):
        pack(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


@pytest.fixture
def explored(tmp_path: Path) -> Path:
    """An exploration of which nothing but its recording was kept, with two kinds of red."""
    shape = {"shape": encode_shape(Shape())}
    (tmp_path / "run.json").write_text(json.dumps({**RUN, **shape}))
    (tmp_path / WORKLOAD).write_text(json.dumps(encode_workload(Workload(1, ()))))
    with opened_store(tmp_path / STORE) as store:
        store.add_recording(
            RecordingRecord(number=0, name="seed 1", events=9, writes=1, verdict=judged("order"))
        )
        store.add_states(
            [
                StateRecord(
                    number=number, recording=0, cut=9, lost_writes=0, torn_writes=0,
                    identity=identity, verdict=judged("durability", red=number == 1),
                )
                for number, identity in enumerate((b"a", b"b"))
            ]
        )  # fmt: skip
        green = ClassRecord(identity=b"a", leader=0, verdict=judged("alive"), seconds=1.0)
        store.add_class(green, complete=False)
        red = judged("interrupted recovery", red=True)
        store.add_children(
            b"a", [ChildRecord(parent=0, number=1, cut=6, identity=b"d", verdict=red)]
        )
    return tmp_path


def test_reds_of_which_nothing_was_kept_are_packed_one_after_another(explored: Path) -> None:
    without: list[str] = []
    for oracle in ("durability", "interrupted recovery"):
        bundle = pack(explored, without=without)
        assert bundle.reason is not None
        assert (bundle.kind, bundle.reason.oracle) == (Kind.RECORDED, oracle)
        without.append(f"{oracle}: {oracle} objects")
    with pytest.raises(BadInput, match="nothing in it is red"):
        pack(explored, without=without)
