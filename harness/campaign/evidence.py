"""The folder that a run leaves: everything that a stranger needs to judge it again."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import BadInput
from harness.hosts.host import CommandResult
from harness.processes import temporary_folder
from harness.storage.images import naming_full_disk
from harness.verdict.verdict import Outcome, Verdict
from harness.verdict.verdict_json import decode_judgements, encode_judgements

KEPT_RUNS = 20  # older folders go; a folder of `crash` takes some 5 MB
SCHEMA = 1
_UNFINISHED = ".unfinished-"
_FINISHED = re.compile(r"\d{8}-\d{6}-.")  # see `keep`; whatever else lies there is not ours


class Evidence:
    """One run's folder while it is being filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("before", "predicted", "after", "live"):
            (folder / name).mkdir()

    def path(self, name: str) -> Path:
        """Return the place of a file in the folder."""
        return self.folder / name

    def write_lines(self, name: str, lines: Iterable[str]) -> None:
        """Write a text file."""
        with naming_full_disk(self.folder):
            self.path(name).write_text("".join(f"{line}\n" for line in lines))

    def write_json(self, name: str, document: dict[str, Any]) -> None:
        """Write a JSON file with the schema's number in it."""
        text = json.dumps({"schema": SCHEMA, **document}, indent=2)
        with naming_full_disk(self.folder):
            self.path(name).write_text(text + "\n")

    def write_commands(self, name: str, commands: Iterable[CommandResult]) -> None:
        """Write down commands as one would type them, each with how it ended or where it hangs."""
        self.write_lines(
            name,
            (
                f"{shlex.join(c.argv)}\n  # {c.host}: status {c.status}, {c.seconds:.2f} s"
                + "".join(f"\n  # {line}" for line in f"{c.output}\n{c.stack}".strip().splitlines())
                for c in commands
            ),
        )


@contextlib.contextmanager
def new_evidence(root: Path, name: str) -> Iterator[Evidence]:
    """Give a folder to fill; it takes its final name in `keep`, else it is gone afterwards.

    Raises:
        BadInput: *root* cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            prefix = f"{_UNFINISHED}{name}-"
            folder = stack.enter_context(temporary_folder(prefix=prefix, parent=root))
        except OSError as error:
            raise BadInput(
                f"{root}: results cannot be written: {error.strerror}; set MDJOURNAL_RESULTS"
            ) from error
        yield Evidence(folder)


def keep(evidence: Evidence, root: Path, name: str) -> Path:
    """Give the folder its final name, prune the oldest ones, and return where it is now."""
    shutil.rmtree(evidence.path("live"), ignore_errors=True)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    evidence.folder.chmod(0o755)
    evidence.folder = _take_name(evidence.folder, root / f"{stamp}-{name}")
    _prune(root, but=evidence.folder)
    return evidence.folder


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain JSON values."""
    return {
        "verdict": verdict.outcome.value,
        "reason": verdict.reason,
        "oracles": encode_judgements(verdict.judgements),
    }


def verdict_in(document: Mapping[str, Any]) -> Verdict:
    """Return the verdict that `verdict_document` made JSON values of."""
    judgements = decode_judgements(document["oracles"])
    return Verdict(Outcome(document["verdict"]), judgements, document["reason"])


def _take_name(folder: Path, wanted: Path) -> Path:
    """Rename a folder; a name that another run has, or takes meanwhile, is left to it."""
    final, number = wanted, 1
    while True:
        if not final.exists():
            try:
                return folder.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        number += 1
        final = wanted.with_name(f"{wanted.name}-{number}")


def _prune(root: Path, *, but: Path) -> None:
    older = sorted(
        (
            path
            for path in root.iterdir()
            if _FINISHED.match(path.name)
            and path != but
            and path.is_dir()
            and not path.is_symlink()
        ),
        key=_last_changed,
    )
    for path in older[: -(KEPT_RUNS - 1)]:
        shutil.rmtree(path, ignore_errors=True)


def _last_changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another run prunes at this moment
        return 0.0
