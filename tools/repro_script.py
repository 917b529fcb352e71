"""`tools/mdjournal repro script`: a red as a shell script for who does not have this project."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from harness.campaign.exploring.smallest import describe_step
from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.bundle_checks import fitting_together
from harness.campaign.reproducing.bundle_json import load_bundle
from harness.campaign.reproducing.script import state_script, what_to_look_for
from harness.campaign.reproducing.script_steps import steps_script
from harness.errors import BadInput
from harness.recovery.era import NEWEST_ERA, Era
from harness.recovery.kernel_versions import era_to_run
from tools.repro_options import bundle_argument
from tools.text_template import render_text

STATE = Path(__file__).with_name("repro_state.sh.j2")
STEPS = Path(__file__).with_name("repro_steps.sh.j2")
_MOST_STEPS = 20


@click.command("script")
@bundle_argument
@click.option(
    "--steps", "by_steps", is_flag=True,
    help="Do what led to it, where the state itself could be shown as well.",
)  # fmt: skip
def script_command(*, path: Path, by_steps: bool) -> None:
    """Print a bundle as a plain shell script: mdadm, dmsetup, dd, loop devices.

    It runs in any root shell, says what to look for, and ends with 1 where it sees it.
    """
    bundle = load_bundle(path)
    click.echo(script_of(bundle, by_steps=by_steps), nl=False)


def script_of(bundle: Bundle, *, by_steps: bool = False) -> str:
    """Return the script of a bundle.

    Raises:
        BadInput: there is nothing in it that commands could do.
    """
    if bundle.images and not by_steps:
        with fitting_together():
            made = asdict(state_script(bundle, _era_of(bundle)))
        return _render(STATE, bundle, made, steps=_steps(bundle))
    if bundle.workload is None and bundle.scenario is None:
        raise BadInput("--steps: nobody knows what led to this state; leave it out")
    with fitting_together():
        made = asdict(steps_script(bundle))
    return _render(STEPS, bundle, made, runs=bundle.runs)


def _render(template: Path, bundle: Bundle, made: dict[str, Any], **more: Any) -> str:
    shape = bundle.shape if bundle.scenario is None else bundle.scenario.needs
    block = shape.logical_block_bytes
    return render_text(
        template,
        **made, **more, title=str(bundle.reason or "a reporter's array"), level=int(shape.level),
        kernel=f"{bundle.kernel.version} ({bundle.kernel.release})", mdadm=bundle.guest.mdadm,
        seen=what_to_look_for(bundle), array=str(shape),
        sector_option="" if block == 512 else f" --sector-size {block}",
    )  # fmt: skip


def _era_of(bundle: Bundle) -> Era:
    try:
        return era_to_run(bundle.kernel.told_by)
    except BadInput:
        return NEWEST_ERA


def _steps(bundle: Bundle) -> list[str]:
    if bundle.workload is None:
        return []
    steps = [describe_step(step) for step in bundle.workload.steps]
    more = [f"and {len(steps) - _MOST_STEPS} steps more"] if len(steps) > _MOST_STEPS else []
    return [*steps[:_MOST_STEPS], *more]
