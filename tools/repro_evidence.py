"""What `repro run` keeps of a red, and its report."""

from __future__ import annotations

import json
from pathlib import Path

from harness.campaign.evidence import verdict_document
from harness.campaign.exploring.recordings import TRACE, write_trace
from harness.campaign.exploring.state_evidence import keep_contents, keep_state
from harness.campaign.reports.looking import look_at
from harness.campaign.reports.model import Case, RunReport
from harness.campaign.reports.scene import Scene, scene_of_state
from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.judging import Judgement
from harness.campaign.reproducing.running import Bench
from harness.verdict.verdict import Outcome, Verdict
from kvm_images.kernels import Kernel
from tools.report_files import ReportFiles
from tools.run_reports import report_of
from tools.typed_command import typed_command


def keep_evidence(folder: Path, bundle: Bundle, judged: Judgement) -> Path | None:
    """Keep the images and the trace of the run that decided; ``None``: it had none."""
    attempt, sizes = judged.attempt, bundle.shape.disk_sizes
    if attempt is None or (attempt.judged is None and attempt.found is None):
        return None
    found = attempt.found
    if attempt.judged is not None:
        keep_state(folder, attempt.judged, sizes)
    elif found is not None and found.chosen is not None:
        before = dict(zip(sizes, found.chosen.contents(), strict=True))
        keep_contents(folder, {"before": before}, sizes)
    else:
        keep_contents(folder, {}, sizes)
    if found is not None and found.recording is not None:
        write_trace(folder / TRACE, found.recording.trace)
    document = {"schema": 1, **verdict_document(attempt.verdict)}
    (folder / "verdict.json").write_text(json.dumps(document, indent=1) + "\n")
    return folder


def repro_report(
    reports: ReportFiles, path: Path, bundle: Bundle, kernel: Kernel, bench: Bench,
    judged: Judgement, folder: Path | None,
) -> RunReport:  # fmt: skip
    """Return the report of runs of a bundle: one case."""
    attempt = judged.attempt
    verdict = (
        Verdict(Outcome.HARNESS_FAILED, reason=judged.why) if attempt is None else attempt.verdict
    )
    exhibit = None
    if folder is not None and reports.wants_pictures:
        exhibit = look_at(folder, era=bench.era, scene=_scene(bundle, judged))
    case = Case(
        name=path.name, group="bundles", kernel=kernel.release, verdict=verdict, evidence=folder,
        repeat=typed_command(), exhibit=exhibit, seconds=judged.seconds,
    )  # fmt: skip
    facts = {
        "bundle": f"{path}: {bundle.reason or 'no reason known'}", "runs": judged.why,
        "array": str(bundle.shape), "kernel": f"{kernel.release} ({kernel.version})",
    }  # fmt: skip
    return report_of(reports, "repro run", [case], strict=True, facts=facts)


def _scene(bundle: Bundle, judged: Judgement) -> Scene | None:
    assert judged.attempt is not None
    found = judged.attempt.found
    if found is not None and found.recording is not None:
        if found.chosen is None:
            return Scene(trace=found.recording.trace, cut=None)
        return scene_of_state(found.recording.trace, found.chosen)
    if bundle.trace is not None and bundle.state is not None:
        return Scene(trace=bundle.trace, cut=bundle.state.cut)
    return None
