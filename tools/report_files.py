"""Report files that were asked for: refused before a long run, written whole at its end."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.campaign.reports.html import html_text
from harness.campaign.reports.jsonl import jsonl_text
from harness.campaign.reports.junit import junit_text
from harness.campaign.reports.ktap import ktap_text
from harness.campaign.reports.model import RunReport
from harness.errors import BadInput
from harness.storage.atomic import replacing
from harness.storage.images import naming_full_disk

FORMATS: Mapping[str, Callable[[RunReport], str]] = {
    "junit": junit_text, "ktap": ktap_text, "jsonl": jsonl_text, "html": html_text,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files that a run is to leave, by format, and when it began."""

    targets: Mapping[str, Path]
    began_s: float = field(default_factory=time.time)
    _began: float = field(default_factory=time.monotonic)

    def __bool__(self) -> bool:
        return bool(self.targets)

    @property
    def wants_pictures(self) -> bool:
        """Whether one of them shows evidence."""
        return "html" in self.targets

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return time.monotonic() - self._began

    def require_writable(self) -> None:
        """Require that each of them can be written, now, when nothing is lost yet.

        Raises:
            BadInput: naming the first that cannot, and why.
        """
        seen: dict[Path, str] = {}
        for name, target in self.targets.items():
            place = target.absolute()
            if (other := seen.setdefault(place, name)) != name:
                raise BadInput(f"--{name} {target}: is the file of --{other} too; name another")
            _require_writable(f"--{name} {target}", place)

    def write(self, report: RunReport) -> None:
        """Write all of them.

        Raises:
            BadInput: one cannot be written any more.
        """
        for name, target in self.targets.items():
            text = FORMATS[name](report)
            try:
                with naming_full_disk(target), replacing(target) as temporary:
                    temporary.write_text(text, encoding="utf-8", newline="\n")
            except OSError as error:
                raise BadInput(f"--{name} {target}: cannot be written: {error.strerror}") from error


def _require_writable(what: str, place: Path) -> None:
    try:
        mode = os.stat(place).st_mode if place.exists() else None  # noqa: PTH116
        if mode is not None and not stat.S_ISREG(mode):
            raise BadInput(f"{what}: is no regular file; name another")
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}."):
            pass
    except OSError as error:
        raise BadInput(
            f"{what}: {place.parent} cannot be written to: {error.strerror}; name another file"
        ) from error
