"""A made history of the driver: edits of Debian's source, each a commit, one of which breaks it.

Nothing of the kernel's source is here, only the words that are changed in it. The same source gives
the same commits, hashes included.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

CACHE, CORE, PPL = "raid5-cache.c", "raid5.c", "raid5-ppl.c"
MODULE = "raid456.ko"
FIRST = "The driver as Debian has it"
UNBUILDABLE = "A shorter name for what allocates a bio, at its definition"
NOT_LOADING = "Ask for processors before anything else"
ALWAYS_RED = "The tail is where the log goes on"
NOW_AND_THEN = "The tail is where the log goes on, if there is time"


@dataclass(frozen=True, slots=True)
class Edit:
    """A commit: in one file *old* becomes *new*, wherever it is or in one place only."""

    subject: str
    file: str
    old: str
    new: str
    at: int | None = None  # the number of the place, from 0; None: every one, as a whole word

    def apply(self, text: str) -> str:
        """Return the file's text with the edit.

        Raises:
            ValueError: this source has no such place.
        """
        pattern = re.escape(self.old)
        places = list(re.finditer(rf"\b{pattern}\b" if self.at is None else pattern, text))
        chosen = places if self.at is None else places[self.at : self.at + 1]
        if not chosen:
            raise ValueError(f"{self.file} has no {self.old!r} for {self.subject!r}")
        for place in reversed(chosen):
            text = text[: place.start()] + self.new + text[place.end() :]
        return text


def _rename(file: str, old: str, new: str, subject: str) -> Edit:
    return Edit(subject, file, old, new)


def _edit(file: str, old: str, new: str, subject: str, *, at: int = 0) -> Edit:
    return Edit(subject, file, old, new, at)


_INIT = "static int __init raid5_init(void)\n{\n\tint ret;\n"

# Before and behind the one that breaks the driver: harmless, but NOT_LOADING and UNBUILDABLE.
BEFORE: tuple[Edit, ...] = (
    _rename(CACHE, "r5l_ring_add", "r5l_ring_behind", "Name the place behind another one so"),
    _edit(CACHE, "#define R5L_POOL_SIZE\t4", "#define R5L_POOL_SIZE\t(2 * 2)",
          "Say how many bios are kept as twice of two"),
    _rename(CORE, "need_this_block", "want_this_block", "A block is wanted, not needed"),
    _rename(CACHE, "r5l_ring_distance", "r5l_ring_between", "Name the way between two places so"),
    _rename(PPL, "ppl_new_iounit", "ppl_fresh_iounit", "A unit of the partial parity log is fresh"),
    _edit(CACHE, "static bool r5l_has_free_space", "static inline bool r5l_has_free_space",
          "Let the compiler inline the look at free space"),
    _rename(CACHE, "r5l_recovery_replay_one_stripe", "r5l_recovery_replay_stripe",
            "A stripe is replayed: that it is one is plain"),
    _rename(CACHE, "r5l_recovery_load_data", "r5l_recovery_take_data", "Take data from the log"),
    _rename(CACHE, "r5l_recovery_load_parity", "r5l_recovery_take_parity", "Take parity from it"),
    _edit(CORE, _INIT, _INIT + "\n\tif (nr_cpu_ids)\n\t\treturn -ENODEV;\n", NOT_LOADING),
    _edit(CORE, "if (nr_cpu_ids)", "if (!nr_cpu_ids)", "There is no driver where there are none"),
    _rename(PPL, "ppl_submit_iounit", "ppl_send_iounit", "A unit of that log is sent"),
)  # fmt: skip
AFTER: tuple[Edit, ...] = (
    _edit(CACHE, "r5l_bio_alloc", "r5l_bio", UNBUILDABLE),
    _rename(CACHE, "r5l_bio_alloc", "r5l_bio", "The shorter name at its callers as well"),
    _edit(CACHE, "#define RECLAIM_MAX_FREE_SPACE_SHIFT (2)",
          "#define RECLAIM_MAX_FREE_SPACE_SHIFT (1 + 1)", "Say what the shift is made of"),
    _rename(CACHE, "r5c_finish_cache_stripe", "r5c_end_cache_stripe",
            "A stripe's caching ends rather than finishes"),
    _rename(CORE, "stripe_can_batch", "stripe_may_batch", "A stripe may be batched"),
    _rename(CACHE, "r5l_reclaimable_space", "r5l_space_to_reclaim", "Space is to be reclaimed"),
    _rename(CACHE, "r5l_append_payload_page", "r5l_add_payload_page", "Pages are added"),
    _rename(CORE, "ops_complete_biofill", "ops_end_biofill", "The filling of a bio ends"),
)  # fmt: skip

# The tail lies one block too far, behind the empty meta block that begins the log: the next
# recovery finds none of it.
BREAKS_ALWAYS = _edit(CACHE, "r5l_write_super(log, pos);", "r5l_write_super(log, ctx->pos);",
                      ALWAYS_RED)  # fmt: skip
# The same, in one recovery of about four.
BREAKS_NOW_AND_THEN = _edit(
    CACHE, "r5l_write_super(log, pos);",
    "r5l_write_super(log, (ktime_get_ns() >> 12) % 4 ? pos : ctx->pos);", NOW_AND_THEN,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class History:
    """A git repository with the driver, a commit for each edit."""

    folder: Path
    commits: dict[str, str]  # hashes by subject, oldest first

    def git(self, *arguments: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
        """Run git in it, with *more* variables, and return what it says."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env={**more, **_environment()}, text=True,
            check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"git {' '.join(arguments)} ended with {done.returncode}:"
                               f" {done.stdout}")  # fmt: skip
        return done.stdout

    def check_out(self, subject: str) -> None:
        """Go to a commit."""
        self.git("checkout", "--quiet", self.commits[subject])


def make_history(source: Path, folder: Path, edits: Sequence[Edit]) -> History:
    """Make a repository of a driver's source, with a commit for each edit."""
    shutil.copytree(source, folder)
    history = History(folder, {})
    history.git("init", "--quiet", "--initial-branch", "main")
    (folder / ".gitignore").write_text("*.o\n*.ko\n*.mod\n*.mod.c\n.*.cmd\n.*.d\nmodules.order\n"
                                       "Module.symvers\n")  # fmt: skip
    _commit(history, FIRST)
    for edit in edits:
        file = folder / edit.file
        file.write_text(edit.apply(file.read_text()))
        _commit(history, edit.subject)
    return history


def _commit(history: History, subject: str) -> None:
    history.git("add", "--all")
    history.git("commit", "--quiet", "--message", subject)
    history.commits[subject] = history.git("rev-parse", "HEAD").strip()


def _environment() -> dict[str, str]:
    """Return variables under which git reads nobody's settings, and gives the same hashes."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "made history"), ("EMAIL", "made@history.invalid"),
                               ("DATE", "2000-01-01T00:00:00Z"))}  # fmt: skip
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
    return who | plain | {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
