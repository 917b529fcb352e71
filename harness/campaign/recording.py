"""A workload that ran on an array, and everything that its disks were asked."""

from __future__ import annotations

from dataclasses import dataclass

from harness.crash.trace import Trace
from harness.crash.workload import Workload
from harness.errors import BadInput

WORKLOAD_BEGINS = "workload begins"
WORKLOAD_ENDS = "workload ends"


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded run."""

    workload: Workload
    trace: Trace
    first_event: int  # sequence number of the workload's first event
    events: int  # of the workload
    kernel_log: tuple[str, ...] = ()  # of the guest that wrote

    @property
    def last_event(self) -> int:
        """Sequence number of the workload's last event."""
        return self.first_event + self.events - 1


def recording_of(workload: Workload, trace: Trace, kernel_log: tuple[str, ...] = ()) -> Recording:
    """Return the recording that a trace with the marks of a workload is of.

    Raises:
        BadInput: the trace ends before its workload does.
    """
    try:
        first = trace.mark(WORKLOAD_BEGINS).sequence + 1
        events = trace.mark(WORKLOAD_ENDS).sequence - first
    except KeyError as missing:
        raise BadInput(
            f"the kept trace is damaged: it has no mark {missing}; record anew"
        ) from None
    return Recording(workload, trace, first, events, kernel_log)
