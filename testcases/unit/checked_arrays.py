"""Arrays of the independent writer given to `check`, and what it says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testcases.journal_writer import stripe_map
from testcases.unit.written_arrays import WrittenArray, digests, noise, store
from tools.cli import run

PAGE = 8  # sectors


@dataclass(frozen=True)
class Checked:
    """What `check --json` said, and how it ended."""

    status: int
    said: dict[str, Any]

    def names(self, *severities: str) -> set[str]:
        """Return the names of what is suspicious; notes only when asked for."""
        wanted = severities or ("warning", "danger")
        return {one["name"] for one in self.said["suspicious"] if one["severity"] in wanted}

    def explained(self, name: str) -> str:
        """Return what is said of one suspicious thing."""
        (one,) = (one for one in self.said["suspicious"] if one["name"] == name)
        return str(one["explanation"])

    @property
    def commands(self) -> str:
        """Every command to go on, one a line."""
        return "\n".join(line for step in self.said["next_steps"] for line in step["commands"])

    @property
    def log(self) -> dict[str, Any]:
        """What is said of the log."""
        found = self.said["journal"]["log"]
        assert isinstance(found, dict)
        return found


def check(capsys: pytest.CaptureFixture[str], paths: Sequence[Path], *options: str) -> Checked:
    before = digests(paths)
    status = run(["check", "--json", *options, *map(str, paths)])
    assert digests(paths) == before, "check only reads"
    return Checked(status, json.loads(capsys.readouterr().out))


def sectors_of(array: WrittenArray, stripe: int) -> list[int]:
    return list(stripe_map(**array.images.shape, stripe_sector=stripe))


def with_three_stripes(array: WrittenArray) -> WrittenArray:
    """Log stripes 0, 8 and 48 in full, each in its own meta block."""
    for stripe in (0, 8, 48):
        array.write({at: noise(-at - 1) for at in sectors_of(array, stripe)})
    return array


def ranges_of(sectors: Sequence[int]) -> list[list[int]]:
    """Merge pages at array sectors, one sector at a time."""
    covered = sorted({at + n for at in sectors for n in range(PAGE)})
    ranges: list[list[int]] = []
    for sector in covered:
        if ranges and sector == sum(ranges[-1]):
            ranges[-1][1] += 1
        else:
            ranges.append([sector, 1])
    return ranges


def named(
    array: WrittenArray, folder: Path, fields: Mapping[int, Any], **journal: Any
) -> list[Path]:
    """Store an array of which some members' superblocks differ."""
    images = {
        f"member{n}.img": image for n, image in array.images.member_images(dict(fields)).items()
    }
    images["journal.img"] = array.images.journal_image(array.ring, **journal)
    return store(folder, images)
