"""What a run of any command was: written beside its results, so that they can be packed.

`run.json` lies in the folder of a run, or of one of its reds; `last.json` in the results' root
names the newest of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.campaign.reproducing.bundle import GuestFacts, KernelFacts
from harness.errors import BadInput
from harness.md.shape import Shape, decode_shape, encode_shape
from harness.storage.atomic import replacing
from harness.storage.images import naming_full_disk

RUN, LAST = "run.json", "last.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """All that decides a run, but for what it looked at."""

    command: str  # the subcommand
    made_by: str  # as it can be typed again
    kernel: KernelFacts
    guest: GuestFacts
    shape: Shape
    seed: int
    jitter_us: int = 0
    lying: frozenset[str] = frozenset()


def write_run(folder: Path, facts: RunFacts) -> None:
    """Write down what ran into the folder of its results."""
    document = {
        "schema": SCHEMA, **asdict(facts), "shape": encode_shape(facts.shape),
        "lying": sorted(facts.lying),
    }  # fmt: skip
    _write(folder / RUN, document)


def read_run(folder: Path) -> RunFacts:
    """Return what ran in a folder, or in the one that it lies in.

    Raises:
        BadInput: no run that can be packed left this folder.
    """
    for place in (folder, folder.parent):
        if (place / RUN).is_file():
            return _facts(_read(place / RUN))
    raise BadInput(
        f"{folder}: has no {RUN}; give a folder that crash, explore, scenarios or fuzz named"
    )


def note_last(root: Path, folder: Path | None) -> None:
    """Note which results are the newest; ``None``: the newest run was green, and left none."""
    name = None if folder is None else str(folder.absolute())
    root.mkdir(parents=True, exist_ok=True)
    _write(root / LAST, {"schema": SCHEMA, "folder": name})


def last_of(root: Path) -> Path:
    """Return the folder of the newest results.

    Raises:
        BadInput: there are none, or they are gone.
    """
    if not (root / LAST).is_file():
        raise BadInput(f"LAST: nothing has been run yet that left results in {root}")
    name = _read(root / LAST)["folder"]
    if name is None:
        raise BadInput("LAST: the newest run was green, and left nothing; name other results")
    folder = Path(str(name))
    if not folder.is_dir():
        raise BadInput(f"LAST: {folder} is gone; run it again, or name other results")
    return folder


def _facts(document: Mapping[str, Any]) -> RunFacts:
    kernel, guest = document["kernel"], document["guest"]
    return RunFacts(
        command=document["command"], made_by=document["made_by"],
        kernel=KernelFacts(**{**kernel, "replaced": tuple(kernel["replaced"])}),
        guest=GuestFacts(**guest), shape=decode_shape(document["shape"]), seed=document["seed"],
        jitter_us=document["jitter_us"], lying=frozenset(document["lying"]),
    )  # fmt: skip


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise BadInput(f"{path}: is damaged: {error}; run it again") from error


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with naming_full_disk(path), replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n")
