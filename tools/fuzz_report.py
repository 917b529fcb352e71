"""What `mdjournal fuzz` prints at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.campaign.fuzzing.campaign import Fuzzed, FuzzOptions
from harness.campaign.fuzzing.shrinking import Smallest
from harness.fuzzing.coverage import ACCEPTED, DROPPED, NOT_REACHED, Coverage
from harness.md.shape import encode_shape
from kvm_images.kernels import Kernel
from tools.explore_report import head_lines, last_lines, oracle_lines, red_lines
from tools.explore_summary import Summary

_INDENT = " " * 11
_WIDTH = 100


def report_lines(
    options: FuzzOptions,
    kernel: Kernel,
    fuzzed: Fuzzed,
    summary: Summary,
    smallest: Sequence[Smallest],
) -> Iterator[str]:
    """Yield what is printed."""
    crash, coverage = options.crash, fuzzed.coverage
    yield from head_lines(crash, kernel)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(coverage.kinds.items()))
    yield (
        f"journals   {coverage.states} of seed {crash.seed}: {kinds}; the kernel recovered"
        f" {summary.classes} that differ in what recovery reads"
    )
    yield from coverage_lines(coverage, crash.era.name)
    yield from oracle_lines(summary)
    yield from red_lines(summary)
    for each in smallest:
        yield f"smallest   {each.reason}: {each.pieces} of {each.pieces_before} blocks and payloads"
        yield from (f"{_INDENT}{line}" for line in each.words)
        yield f"{_INDENT}{each.tried} were tried; {each.folder}"
    done = fuzzed.explored.progress
    if done.recovered:
        rate = done.recovered / fuzzed.explored.seconds
        yield (
            f"rate       {rate:.1f} journals a second recovered and judged, in"
            f" {fuzzed.explored.seconds:.0f} s"
        )
    yield from last_lines(summary, fuzzed.explored)


def summary_document(
    options: FuzzOptions,
    kernel: Kernel,
    fuzzed: Fuzzed,
    summary: Summary,
    smallest: Sequence[Smallest],
) -> dict[str, Any]:
    """Return the same as JSON values."""
    crash, coverage = options.crash, fuzzed.coverage
    return {
        "schema": 1,
        "shape": encode_shape(crash.shape),
        "kernel": {"release": kernel.release, "version": kernel.version, "era": crash.era.name,
                   "accelerator": crash.image.accelerator},
        "seed": crash.seed,
        "states": summary.states,
        "recovered": summary.classes,
        "verdicts": {outcome.value: count for outcome, count in summary.outcomes.items() if count},
        "oracles": {
            f"{name}, {of}": {"judged": count.judged, "objected": count.objected}
            for (name, of), count in summary.oracles.items()
        },
        "coverage": {
            "kinds": dict(coverage.kinds),
            "tricks": dict(coverage.tricks),
            "payloads": _nested(coverage.payloads),
            "fields": _nested(coverage.fields),
            "ends": dict(coverage.ends),
            "eras": {
                name: {"told": each.told, "same": each.same, "replayed": each.replayed,
                       "data_only": each.data_only}
                for name, each in coverage.eras.items()
            },
        },
        "red": [
            {"where": red.where, "verdict": red.verdict.outcome.value,
             "reason": red.verdict.reason,
             "findings": [{"oracle": f.oracle, "what": f.what, "details": list(f.details),
                           "facts": dict(f.facts)} for f in red.verdict.findings]}
            for red in summary.reds
        ],
        "smallest": [
            {"reason": each.reason, "pieces": each.pieces, "of_pieces": each.pieces_before,
             "journal": list(each.words), "folder": str(each.folder)}
            for each in smallest
        ],
        "seconds": round(fuzzed.explored.seconds, 2),
        "folder": str(fuzzed.explored.folder),
    }  # fmt: skip


def coverage_lines(coverage: Coverage, own_era: str) -> Iterator[str]:
    """Show what was reached: payloads, fields and their values, ends, eras."""
    states = (ACCEPTED, DROPPED, NOT_REACHED)
    yield f"payloads   {'kind':<15}" + "".join(f"{state:>13}" for state in states)
    for kind in sorted({kind for kind, _ in coverage.payloads}):
        counts = "".join(f"{coverage.payloads[kind, state]:>13}" for state in states)
        yield f"{_INDENT}{kind:<15}{counts}"
    yield "fields     field                  values, each with how many journals have it"
    for name, values in _nested(coverage.fields).items():
        yield from _folded(name, values)
    yield "tricks     in how many journals each was played"
    yield from _folded("", coverage.tricks)
    yield "ends       of how many recoveries, by the model"
    for name, count in sorted(coverage.ends.items()):
        yield f"{_INDENT}{name:<62}{count:>6}"
    head = f"{'outcome told':>13}{'same effect':>13}{'replayed':>10}{'data-only':>11}"
    yield f"eras       {'era':<12}{head}"
    for name, each in coverage.eras.items():
        own = "  this kernel's" if name == own_era else ""
        yield (
            f"{_INDENT}{name:<12}{each.told:>13}{each.same:>13}{each.replayed:>10}"
            f"{each.data_only:>11}{own}"
        )


def _nested(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (name, value), count in sorted(counts.items()):
        found.setdefault(name, {})[value] = count
    return found


def _folded(name: str, values: Mapping[str, int]) -> Iterator[str]:
    """Yield a row, folded where it is long."""
    width = 23 if name else 0
    line = f"{_INDENT}{name:<{width}}"
    parts = [f"{value} {count}" for value, count in Counter(values).most_common()]
    for number, part in enumerate(parts):
        text = part + (", " if number + 1 < len(parts) else "")
        if len(line) + len(text) > _WIDTH and line.strip():
            yield line.rstrip()
            line = _INDENT + " " * width
        line += text
    yield line.rstrip()
