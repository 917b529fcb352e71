"""What a disk holds, block by block: cheap to copy, to write to and to compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import Issue, Operation

_ZEROES = bytes(BLOCK_BYTES)


class DiskContent:
    """A disk of blocks; one that was never written, or cleared since, is zeroes.

    Copies share their blocks, which are never changed but replaced.
    """

    def __init__(self, blocks: dict[int, bytes] | None = None) -> None:
        self.blocks = {} if blocks is None else blocks

    def copy(self) -> DiskContent:
        """Return another one that holds the same, and goes its own way."""
        return DiskContent(self.blocks.copy())

    def block(self, number: int) -> bytes:
        """Return one block."""
        return self.blocks.get(number, _ZEROES)

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset* on."""
        first, last = offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES
        if first == last and length == BLOCK_BYTES:
            return self.block(first)
        whole = b"".join(self.block(number) for number in range(first, last + 1))
        start = offset - first * BLOCK_BYTES
        return whole[start : start + length]

    def write(self, offset: int, data: bytes) -> None:
        """Put *data* at *offset*."""
        at, end = offset, offset + len(data)
        while at < end:
            number, inside = divmod(at, BLOCK_BYTES)
            size = min(BLOCK_BYTES - inside, end - at)
            piece = data[at - offset : at - offset + size]
            if size < BLOCK_BYTES:
                old = self.block(number)
                piece = old[:inside] + piece + old[inside + size :]
            self.blocks[number] = piece
            at += size

    def clear(self, offset: int, length: int) -> None:
        """Put zeroes at *offset*."""
        first = -(-offset // BLOCK_BYTES)
        last = (offset + length) // BLOCK_BYTES
        if first > last:  # inside one block
            self.write(offset, bytes(length))
            return
        self.write(offset, bytes(first * BLOCK_BYTES - offset))
        for number in range(first, last):
            self.blocks.pop(number, None)
        self.write(last * BLOCK_BYTES, bytes(offset + length - last * BLOCK_BYTES))

    def take(self, issue: Issue, ranges: Iterable[tuple[int, int]] | None = None) -> None:
        """Do what a request asks for, or of it just these (offset, length) *ranges* of the disk."""
        for offset, length in ((issue.offset, issue.length),) if ranges is None else ranges:
            if issue.operation is Operation.WRITE:
                start = offset - issue.offset
                self.write(offset, issue.payload[start : start + length])
            elif issue.operation is not Operation.FLUSH:
                self.clear(offset, length)

    def differing(self, other: DiskContent) -> Iterator[int]:
        """Yield the number of each block that is not the same in *other*."""
        mine, theirs = self.blocks, other.blocks
        for number in mine.keys() | theirs.keys():
            one, two = mine.get(number, _ZEROES), theirs.get(number, _ZEROES)
            if one is not two and one != two:
                yield number
