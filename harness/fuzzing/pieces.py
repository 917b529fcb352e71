"""A journal taken apart, so that what does not matter can be left out, and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.fuzzing.journal import Journal, LooseBlock, WrittenMeta
from harness.fuzzing.payloads import TRUE, Data, Flush, Parity, Payload, Raw
from harness.fuzzing.site import FuzzedArray


@dataclass(frozen=True, slots=True)
class Piece:
    """A meta block without payloads, one of its payloads, or a loose block.

    Where one is left out, each meta block behind it moves to where the one before it ends, with the
    next sequence number.
    """

    meta: WrittenMeta | None = None  # without payloads
    number: int = 0  # of the meta block that it belongs to
    payload: Payload | None = None
    loose: LooseBlock | None = None

    def without_lies(self) -> Piece:
        """Return the same with all its fields as they should be."""
        if self.meta is not None:
            return replace(self, meta=replace(self.meta, lies=TRUE, pages_written=None))
        match self.payload:
            case Data() | Parity() as payload if payload.pages:
                return replace(self, payload=replace(payload, size=None, checksums=None, flags=0))
            case Flush() as flush:
                return replace(self, payload=replace(flush, size=None, flags=0))
        return self


def pieces_of(journal: Journal) -> list[Piece]:
    """Return all that a journal is made of."""
    pieces = []
    for number, meta in enumerate(journal.metas):
        pieces.append(Piece(meta=replace(meta, payloads=()), number=number))
        pieces += [Piece(number=number, payload=payload) for payload in meta.payloads]
    return [*pieces, *(Piece(loose=loose) for loose in journal.loose)]


def journal_of(pieces: Sequence[Piece], whole: Journal, array: FuzzedArray) -> Journal:
    """Return the journal that some of the pieces of another one make.

    Payloads whose meta block is left out are left out as well.
    """
    metas: list[WrittenMeta] = []
    first = whole.metas[0]
    position, seq = first.position, first.seq
    for piece in pieces:
        if piece.meta is None:
            continue
        mine = tuple(p.payload for p in pieces if p.payload and p.number == piece.number)
        meta = replace(piece.meta, payloads=mine, position=position, seq=seq)
        metas.append(meta)
        position, seq = meta.end(array), (seq + 1) % 2**64
    words = [f"first meta {first.seq} at {first.position}"]
    words += [f"meta {m.seq} at {m.position}: {_said(m)}" for m in metas]
    return replace(
        whole, metas=metas, words=words, end=position,
        loose=[piece.loose for piece in pieces if piece.loose is not None],
    )  # fmt: skip


def _said(meta: WrittenMeta) -> str:
    payloads = "; ".join(map(_payload_said, meta.payloads)) or "empty"
    lies = meta.lies.names()
    return payloads + (f"; not as it should be: {', '.join(lies)}" if lies else "")


def _payload_said(payload: Payload) -> str:
    match payload:
        case Raw(data=data):
            return f"bytes {data.hex(' ')}"
        case Flush(stripes=stripes, size=size):
            said = f"FLUSH of {list(stripes)}"
        case _:
            kind = "DATA" if isinstance(payload, Data) else "PARITY"
            size = payload.size
            said = f"{kind} of {len(payload.pages)} pages at {payload.location}"
            if payload.checksums is not None:
                said += ", its own checksums"
    return (
        said
        + ("" if size is None else f", size {size}")
        + (f", flags {payload.flags}" if payload.flags else "")
    )
