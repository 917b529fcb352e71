"""Make a bundle without a user's data, names and UUIDs, and see that it is red all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.campaign.reproducing.bundle import Bundle, Kind, Runs
from harness.campaign.reproducing.minimising import bundle_of
from harness.campaign.reproducing.running import Attempt, Bench, runner
from harness.campaign.reproducing.scrubbing import Scrubber
from harness.crash.pattern import Fill
from harness.errors import BadInput
from harness.recovery.members import no_longer_members, put_together
from harness.storage.bundle_file import DiskImage
from harness.verdict.predicted_state import superblocks_of

MADE_BY = "a scrubbed bundle"
WRITTEN_ANEW = "scrubbed: all of it was written anew, with another seed, so with other UUIDs"
STATE = (
    "scrubbed: pages are patterns, names, times and UUIDs are new; what was dropped: the workload,"
    " the kernel's log, all outside of the array"
)


def scrub(bundle: Bundle, bench: Bench, *, key: bytes, tries: int) -> Bundle:
    """Return a scrubbed bundle that was seen red for the same reason.

    What the harness wrote by itself is written anew; of disks that somebody sent, each page becomes
    a pattern.

    Args:
        bundle: to be scrubbed.
        bench: what it is verified on.
        key: a secret, of which the new seed and patterns are made.
        tries: how often it may stay green.

    Raises:
        BadInput: it is not red any more; nothing is to be written then.
    """
    for candidate in candidates(bundle, key):
        with runner(candidate, bench) as run:
            for number in range(1, tries + 1):
                attempt = run()
                if attempt.again:
                    return _as_seen(candidate, attempt, Runs(number, 1))
    if bundle.reason is None:
        raise BadInput(
            f"nobody has seen this bundle red, and without its data it was not in {tries} runs."
            " Nothing was written; see what `repro run --save FILE` finds, and take that"
        )
    raise BadInput(
        f"without its data it was not red in {tries} runs: it hangs on what was taken out."
        " Nothing was written; minimise it first, or raise --tries"
    )


def candidates(bundle: Bundle, key: bytes) -> Iterator[Bundle]:
    """Yield the bundle without its data, in the ways that there are."""
    seed = int.from_bytes(key[:4], "little")
    anonymous = replace(bundle, made_by=MADE_BY, texts={}, seed=seed, runs=Runs())
    if bundle.kind is Kind.SCENARIO:
        yield replace(anonymous, notes=(WRITTEN_ANEW,))
        return
    if bundle.workload is not None:
        workload = replace(bundle.workload, seed=seed, fill=Fill.PLAIN)
        yield replace(
            anonymous, kind=Kind.RECORDED, workload=workload, trace=None, state=None, images={},
            there=(), notes=(WRITTEN_ANEW,),
        )  # fmt: skip
        if bundle.records:
            return
    images = scrubbed_images(bundle, key)
    kind = Kind.FUZZED if bundle.kind is Kind.FUZZED else Kind.IMPORTED
    yield replace(
        anonymous, kind=kind, workload=None, trace=None, state=None, images=images, notes=(STATE,)
    )


def scrubbed_images(bundle: Bundle, key: bytes) -> dict[str, DiskImage]:
    """Return a bundle's disks without their data."""
    contents = {name: image.content for name, image in bundle.images.items()}
    superblocks = superblocks_of(contents, bundle.shape.disk_sizes)
    there = {name: superblocks[name] for name in bundle.there if name in superblocks}
    gone = no_longer_members(there)
    array = put_together({name: s for name, s in there.items() if name not in gone})
    found = Scrubber(array, superblocks, contents, key).scrubbed()
    return {
        name: DiskImage(size_bytes=image.size_bytes, content=found[name])
        for name, image in bundle.images.items()
    }


def _as_seen(candidate: Bundle, attempt: Attempt, runs: Runs) -> Bundle:
    if candidate.kind is Kind.RECORDED and attempt.found is not None:
        candidate = replace(bundle_of(candidate, attempt.found), texts={})
    return replace(candidate, verdict=attempt.verdict, runs=runs, seconds=attempt.seconds)
