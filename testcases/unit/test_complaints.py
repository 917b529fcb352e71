"""What a kernel says against itself is met, whichever of its watchers says it."""

from __future__ import annotations

import pytest

from harness.campaign.judging import complaints_in


@pytest.mark.parametrize(
    "line",
    [
        "BUG: KASAN: slab-use-after-free in r5l_log_endio+0x1/0x2 [raid456]",
        "BUG: sleeping function called from invalid context at mm/mempool.c:1",
        "WARNING: possible circular locking dependency detected",
        "WARNING: possible recursive locking detected",
        "WARNING: inconsistent lock state",
        "WARNING: suspicious RCU usage",
        "WARNING: CPU: 0 PID: 7 at lib/debugobjects.c:1 debug_print_object+0x1/0x2",
        "INFO: trying to register non-static key.",
        "UBSAN: shift-out-of-bounds in drivers/md/raid5.c:1:2",
        "BUG raid5-md0 (Tainted: G    B   ): Objects remaining on __kmem_cache_shutdown()",
        "kernel BUG at drivers/md/raid5-cache.c:453!",
        "INFO: task mdadm:99 blocked for more than 120 seconds.",
        "Oops: general protection fault, probably for non-canonical address",
    ],
)
def test_a_complaint_is_met(line: str) -> None:
    assert complaints_in([f"[    1.000000] {line}"]) != []


@pytest.mark.parametrize(
    "line",
    [
        "md/raid:md0: recovering 0 data-only stripes and 3 data-parity stripes",
        "FAULT_INJECTION: forcing a failure.",
        "md: md0 stopped.",
        "raid6: skipped pq benchmark and selected avx2x4",
    ],
)
def test_what_is_said_in_passing_is_no_complaint(line: str) -> None:
    assert complaints_in([f"[    1.000000] {line}"]) == []
