"""P and Q of a stripe, over pages of any equal length.

Format document, sections 5.3 and 5.4; the field is GF(2^8) with polynomial 0x11d, generator 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_POLYNOMIAL = 0x11D


def _exponential_table() -> Bytes:
    table = np.zeros(255, np.uint8)
    value = 1
    for exponent in range(255):
        table[exponent] = value
        value <<= 1
        if value & 0x100:
            value ^= _POLYNOMIAL
    return table


_EXP = _exponential_table()
_LOG = np.zeros(256, np.intp)
_LOG[_EXP] = np.arange(255)


def _multiplication_tables() -> Bytes:
    """Row e, column b: generator to the power e, times b."""
    tables = np.zeros((255, 256), np.uint8)
    nonzero = np.arange(1, 256)
    for exponent in range(255):
        tables[exponent, 1:] = _EXP[(exponent + _LOG[nonzero]) % 255]
    return tables


_TIMES_POWER = _multiplication_tables()


def xor_pages(pages: Iterable[bytes | memoryview]) -> bytes:
    """Return the exclusive or of *pages*: P, when they are a stripe's data; needs one at least."""
    iterator = iter(pages)
    total = np.frombuffer(next(iterator), np.uint8).copy()
    for page in iterator:
        total ^= np.frombuffer(page, np.uint8)
    return total.tobytes()


def q_syndrome(pages: Mapping[int, bytes | memoryview]) -> bytes:
    """Return Q: the exclusive or of generator**e * page over *pages*, keyed by exponent e."""
    total: Bytes | None = None
    for exponent, page in pages.items():
        term = _TIMES_POWER[exponent][np.frombuffer(page, np.uint8)]
        total = term if total is None else total ^ term
    if total is None:
        raise ValueError("Q needs one data page at least")
    return total.tobytes()
