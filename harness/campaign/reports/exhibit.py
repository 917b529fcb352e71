"""The evidence of one red case as a person looks at it: pictures, words, and log lines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing."""

    caption: str
    svg: str  # one <svg> element, to be put into a page as it is


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a kernel's log."""

    text: str
    telling: str = ""  # "complaint", "md", or nothing of interest


@dataclass(frozen=True, slots=True)
class RequestInWords:
    """What was asked of a disk around the cut, and what became of it."""

    events: str  # of its issue and completion: "612 to 615"
    disk: str
    what: str  # "write of 4096 bytes at sector 2176, FUA: md superblock"
    fate: str  # "durable", "lost: in the volatile cache" ...
    is_lost: bool  # or torn


@dataclass(frozen=True, slots=True)
class Difference:
    """A block that is not as it was predicted."""

    place: str  # "member 0, stripe 8: data of array sector 24"
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """All that is known of one case, what is not there left empty."""

    cut: str = ""  # where the power went, in words
    timeline: Picture | None = None
    requests: tuple[RequestInWords, ...] = ()
    maps: tuple[Picture, ...] = ()  # of the journal, before and after
    changes: tuple[str, ...] = ()  # what recovery changed, a line for each disk
    differences: tuple[Difference, ...] = ()
    more_differences: int = 0  # besides those
    kernel_log: tuple[LogLine, ...] = ()
    stacks: tuple[str, ...] = ()  # lines: of what hangs
    remarks: tuple[str, ...] = ()  # what is not shown, and why

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look at."""
        return self == Exhibit(remarks=self.remarks) and not self.remarks
