"""What of a story a script may say: words that touch its own devices alone.

A story may come from a stranger, and whoever runs the script is root on a real machine. Quoting
keeps a text a text; it does not keep ``mdadm --monitor --program`` from running a program, nor an
attribute's name from leading out of sysfs. So here is what is let through; all else is left out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

_OPTIONS = frozenset((
    "action", "add", "add-journal", "add-spare", "array-size", "assemble", "assume-clean", "bitmap",
    "chunk", "consistency-policy", "create", "detail", "examine", "export", "fail", "force", "grow",
    "incremental", "level", "query", "raid-devices", "re-add", "readonly", "readwrite", "remove",
    "replace", "run", "size", "stop", "test", "update", "uuid", "wait", "wait-clean", "with",
    "write-journal", "zero-superblock",
))  # fmt: skip
_WORD = re.compile(r"--(?P<option>[a-z-]+)(?:=(?P<value>[^=]+))?|(?P<word>[^-].*)")
_PLAIN_VALUE = re.compile(r"[a-z0-9:-]{1,40}")
_PLAIN_WORDS = frozenset(("missing", "failed", "detached"))
_NODE = re.compile(r"\{(\w+)\}")
_ATTRIBUTES = frozenset((
    "array_size", "array_state", "consistency_policy", "degraded", "group_thread_cnt",
    "journal_mode", "mismatch_cnt", "preread_bypass_threshold", "resync_start", "rmw_level",
    "safe_mode_delay", "skip_copy", "stripe_cache_active", "stripe_cache_size", "suspend_hi",
    "suspend_lo", "sync_action", "sync_speed_max", "sync_speed_min",
))  # fmt: skip
_STATE_OF_SLOT = re.compile(r"rd[0-9]{1,2}/state")
_ATTRIBUTE_VALUE = re.compile(r"[a-z0-9.-]{1,32}")


def node(name: str) -> str:
    """Return the word of a script that stands for the array or a disk of it."""
    if name == "array":
        return '"$MD"'
    return f'"/dev/mapper/$NAME-{re.sub(r"[^a-z0-9]", "", name)}"'


def mdadm_words(arguments: str, disks: Collection[str]) -> list[str] | None:
    """Return mdadm's arguments as words of a script; ``None``: a script does not say them."""
    words = [_mdadm_word(word, disks) for word in arguments.split()]
    return None if None in words else [word for word in words if word is not None]


def _mdadm_word(word: str, disks: Collection[str]) -> str | None:
    if (found := _WORD.fullmatch(word)) is None:
        return None
    if found["word"] is not None:
        return found["word"] if found["word"] in _PLAIN_WORDS else _named_node(word, disks)
    if found["option"] not in _OPTIONS:
        return None
    value = found["value"]
    if value is None:
        return word
    if _PLAIN_VALUE.fullmatch(value):
        return shlex.quote(word)
    named = _named_node(value, disks)
    return None if named is None else f"--{found['option']}={named}"


def _named_node(word: str, disks: Collection[str]) -> str | None:
    found = _NODE.fullmatch(word)
    return node(found[1]) if found and (found[1] == "array" or found[1] in disks) else None


def may_be_read(name: str) -> bool:
    """Whether a script may read an attribute of the array."""
    return name in _ATTRIBUTES or _STATE_OF_SLOT.fullmatch(name) is not None


def may_be_set(name: str, value: str) -> bool:
    """Whether a script may set an attribute of the array to a value."""
    return name in _ATTRIBUTES and _ATTRIBUTE_VALUE.fullmatch(value) is not None
