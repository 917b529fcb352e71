"""`tools/mdjournal repro import`: a bundle of what a reporter sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.bundle_json import save_bundle
from harness.campaign.reproducing.importing import import_bundle
from harness.errors import BadImage, BadInput
from harness.recovery.era import NEWEST_ERA, Era
from harness.recovery.kernel_versions import era_to_run
from harness.recovery.log import UndefinedRecovery
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE, StripeCacheExhausted
from harness.recovery.plan import UnreadableTail
from harness.storage.bundle_file import SUFFIX
from harness.verdict.predicted_state import predict_state
from kvm_images import kernels
from tools.repro_options import force_option, kib_of, out_option, target_of
from tools.repro_report import bundle_lines


@click.command("import")
@click.argument(
    "images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@out_option
@force_option
@click.option(
    "--kernel", default=kernels.DEFAULT, show_default=True, metavar="NAME",
    help="What it is to run on, from `mdjournal kernels list`.",
)  # fmt: skip
@click.option(
    "--reported", default="", metavar="VERSION", help="The reporter's kernel, as uname -r has it."
)
def import_command(
    *, images: tuple[Path, ...], out: Path | None, force: bool, kernel: str, reported: str
) -> None:
    """Make a bundle of dd images: members and journal, or the first MiB of members and the journal.

    Says of each disk what it is worth, and what recovery is expected to do.
    """
    target = target_of(out or Path(f"{images[0].stem}-imported{SUFFIX}"), force=force)
    bundle = import_bundle(images, kernel=kernel, reported=reported)
    save_bundle(target, bundle)
    click.echo(f"{target}: {kib_of(target)} KiB")
    for line in bundle_lines(bundle):
        click.echo(line)
    for line in _expected_lines(bundle, _era(reported)):
        click.echo(line)
    click.echo(f"next       tools/mdjournal repro run {target}")


def _expected_lines(bundle: Bundle, era: Era) -> Iterator[str]:
    contents = {name: bundle.images[name].content for name in bundle.there}
    try:
        predicted = predict_state(
            contents, bundle.shape.disk_sizes, era, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE
        )
    except (UndefinedRecovery, UnreadableTail, StripeCacheExhausted, BadImage) as untold:
        yield f"expected   cannot be told, era {era.name}: {untold}"
        return
    plan = predicted.plan
    said = f", and says {plan.message!r}" if plan.message else ""
    yield (
        f"expected   by the model, era {era.name}: recovery takes {plan.metas_accepted} meta"
        f" blocks{said}"
    )


def _era(reported: str) -> Era:
    try:
        return era_to_run(reported) if reported else NEWEST_ERA
    except BadInput:
        return NEWEST_ERA
