"""`tools/mdjournal check`: explain an array's journal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from harness.errors import EXIT_AGREES, EXIT_DIFFERS, DamagedImage
from harness.ondisk.superblock import Superblock
from harness.recovery.era import Era
from harness.storage.array_files import ArrayFiles
from harness.storage.images import read_superblocks
from harness.storage.ring_survey import read_journal
from harness.verdict.array_health import Health, Unusable, assess
from harness.verdict.diagnosis import JournalFacts, Ranges, journal_facts
from harness.verdict.diagnosis_text import diagnosis_lines
from harness.verdict.next_steps import Step, next_steps
from harness.verdict.suspicions import Severity, Suspicion, suspicions, what_is_unknown
from tools.offline_options import chosen_era, images_argument, model_options
from tools.progress import watched

_MOST_RANGES = 10000


@click.command()
@images_argument
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(
    *,
    images: tuple[Path, ...],
    era_name: str | None,
    kernel_version: str | None,
    stripe_cache_size: int,
    as_json: bool,
) -> int:
    """Explain an array's journal: what recovery will do, what is lost without it, what to do next.

    Give any of the array's members and its journal, in any order; the more, the more can be said.
    One that is damaged is named and left out. Nothing is written.

    Exit status: 0 nothing is wrong; 1 something is suspicious or data is at risk (a warning or a
    danger is listed; notes alone do not count); 2 nothing can be said of these images.
    """
    era = chosen_era(era_name, kernel_version)
    damaged: dict[str, DamagedImage] = {}
    superblocks = read_superblocks(images, damaged)
    health, journal = _diagnose(superblocks, damaged, era, stripe_cache_size)
    found = suspicions(health, journal)
    steps, unknown = next_steps(health, journal), what_is_unknown(health, journal)
    if as_json:
        click.echo(json.dumps(_document(era, health, journal, found, steps, unknown), indent=1))
    else:
        for line in diagnosis_lines(health, journal, found, steps, unknown):
            click.echo(line)
    wrong = any(one.severity is not Severity.NOTE for one in found)
    return EXIT_DIFFERS if wrong else EXIT_AGREES


def _diagnose(
    superblocks: Mapping[str, Superblock], damaged: Mapping[str, DamagedImage], era: Era,
    stripe_cache_size: int,
) -> tuple[Health, JournalFacts | None]:  # fmt: skip
    """Say how the array is and what its journal holds.

    *damaged* are images left out already; a journal that cannot be read joins them, if there are
    others to say something of.
    """
    health, array = assess(superblocks)
    unusable = tuple(Unusable(label, str(error)) for label, error in damaged.items())
    health = replace(health, unusable=unusable)
    if array.journal is None:
        return health, None
    try:
        with watched("check") as watch:
            paths = {label: Path(label) for label in superblocks}
            files = ArrayFiles(array, paths, array.journal, watch)
            reading = read_journal(files, era, stripe_cache_size=stripe_cache_size)
    except DamagedImage as error:
        others = {n: own for n, own in superblocks.items() if n != array.journal}
        if not others:
            raise
        return _diagnose(others, {**damaged, array.journal: error}, era, stripe_cache_size)
    return health, journal_facts(reading, array, health, era)


def _document(
    era: Era, health: Health, journal: JournalFacts | None, found: Sequence[Suspicion],
    steps: Sequence[Step], unknown: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    return {
        "schema": 1,
        "era": era.name,
        "array": _health_document(health),
        "journal": None if journal is None else _journal_document(journal),
        "suspicious": [
            {"name": one.name, "severity": one.severity.value, "explanation": one.explanation}
            for one in found
        ],
        "next_steps": [
            {"when": step.when, "commands": list(step.commands), "cost": step.cost}
            for step in steps
        ],
        "not_concluded": list(unknown),
    }


def _health_document(health: Health) -> dict[str, Any]:
    document = asdict(health)
    document["journal"] = health.journal.value
    for own, device in zip(document["devices"], health.devices, strict=True):
        own["state"] = device.state.value
    return document | {"slots_without_data": list(health.without_data)}


def _journal_document(journal: JournalFacts) -> dict[str, Any]:
    contents, prediction = journal.contents, journal.prediction
    left = journal.leftovers
    log = asdict(contents)
    return {
        "log": log
        | {"live_sectors": contents.live_sectors, "was_write_back": contents.was_write_back}
        | {"with_parity": _ranges(contents.with_parity), "data_only": _ranges(contents.data_only)},
        "recovery": asdict(prediction)
        | {"work": asdict(prediction.work) | {"megabytes": prediction.work.megabytes}},
        "eras_that_differ": [
            {
                "eras": list(one.eras), "members": list(one.members), "journal": list(one.journal),
                "cannot_be_told": one.undefined,
            }
            for one in journal.differences
        ],
        "rest_of_ring": {
            "older_metas": left.older, "newer_metas": left.newer, "unfit_metas": left.unfit,
        },
    }  # fmt: skip


def _ranges(ranges: Ranges) -> dict[str, Any]:
    """Return ranges as a document; of very many, the first ones and how many there are."""
    return {"count": len(ranges), "ranges": [list(one) for one in ranges[:_MOST_RANGES]]}
