"""What a disk held at any moment of a trace, block by block."""

from __future__ import annotations

from collections.abc import Iterator

from harness.crash.trace import Issue, Operation, Trace

BLOCK_BYTES = 4096


class DiskHistory:
    """The writes of one disk, found by block; the disk was all zeroes when the trace began."""

    def __init__(self, trace: Trace, disk: int) -> None:
        self._by_block: dict[int, list[Issue]] = {}
        for event in trace.events:
            if (
                isinstance(event, Issue)
                and event.disk == disk
                and event.operation is not Operation.FLUSH
                and event.length
            ):
                last = (event.offset + event.length - 1) // BLOCK_BYTES
                for block in range(event.offset // BLOCK_BYTES, last + 1):
                    self._by_block.setdefault(block, []).append(event)

    def content(self, block: int, *, before: int) -> bytes:
        """Return block number *block* as the writes issued before sequence *before* made it."""
        content = bytearray(BLOCK_BYTES)
        for issue in self._by_block.get(block, ()):
            if issue.sequence >= before:
                break
            _lay_over(content, block * BLOCK_BYTES, issue)
        return bytes(content)

    def cleared(self, block: int, *, before: int) -> int:
        """Return when a block was last trimmed or zeroed before an event; 0: never."""
        return max(
            (
                issue.sequence
                for issue in self._by_block.get(block, ())
                if issue.operation is not Operation.WRITE and issue.sequence < before
            ),
            default=0,
        )

    def written(self, block: int) -> Iterator[tuple[int, bytes]]:
        """Yield every whole content that the block was written with, and when (its issue)."""
        for issue in self._by_block.get(block, ()):
            start = block * BLOCK_BYTES - issue.offset
            content = issue.payload[start : start + BLOCK_BYTES] if start >= 0 else b""
            if len(content) == BLOCK_BYTES:
                yield issue.sequence, content

    def blocks(self) -> Iterator[int]:
        """Yield the number of each block that was ever written."""
        yield from self._by_block


def _lay_over(content: bytearray, start: int, issue: Issue) -> None:
    begin = max(issue.offset, start)
    end = min(issue.offset + issue.length, start + BLOCK_BYTES)
    if issue.operation is Operation.WRITE:
        part = issue.payload[begin - issue.offset : end - issue.offset]
    else:
        part = bytes(end - begin)
    content[begin - start : end - start] = part
