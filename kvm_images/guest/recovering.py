"""Let md recover crash states one after another, and look at what it made of each.

Part of the guest's agent, on the standard library alone. mdadm itself is asked where its own
judgement could matter (see ``by_mdadm``).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from kvm_images.guest.assembling import MdArray, Run
from kvm_images.guest.waiting import Hung

LOOK_DEADLINE_S = 60.0  # of a check, or of reading back

Answer = dict[str, Any]


class Recoverer:
    """One array, assembled and stopped again and again.

    Marks tell the disk server what to do: ``state N`` puts a state on the disks, ``settled N``
    keeps what recovery made of it, ``back N`` goes back to that.
    """

    def __init__(self, mark: Callable[[str], object], run: Run) -> None:
        self._mark = mark
        self._array = MdArray(run)
        self._kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)

    def recover(self, state: Answer, deadline_s: float) -> Answer:
        """Have a state put on the disks, let md recover it, and look at it as asked.

        Args:
            state: ``number``; ``nodes`` to assemble, a journal last; ``by_mdadm``, whether mdadm
                does that, and md itself if it refuses; ``read_pages``, pages of the array to be
                read back; ``check_sectors`` of each member for md to check, or 0; ``again``,
                whether to recover a second time; ``without``, a list of nodes to leave out for
                each time to read back degraded.
            deadline_s: for each request to md.

        Returns:
            What came of it: ``assembled``, ``settled``, ``stopped``, seconds, what md said, and
            where it hangs if it does; ``refused``, what mdadm said then; ``read``,
            ``mismatch_sectors``, ``second`` and ``degraded`` as asked.
        """
        number, nodes = state["number"], state["nodes"]
        self._log()
        self._mark(f"state {number}")
        began = time.monotonic()
        answer = _nothing_yet()
        answer["number"] = number
        try:
            self._start(nodes, answer, by_mdadm=state["by_mdadm"], deadline_s=deadline_s)
            if answer["assembled"]:
                answer["assemble_s"] = time.monotonic() - began
                answer["settled"] = self._array.settle(nodes, deadline_s)
                self._mark(f"settled {number}")
                self._look(state, answer)
                self._end(answer, by_mdadm=state["by_mdadm"], deadline_s=deadline_s)
            else:
                with contextlib.suppress(OSError):
                    self._array.stop(deadline_s)
        except Hung as hung:
            answer["stack"] = str(hung)
        except OSError as error:
            self._give_up(answer, error, deadline_s)
        self._mark(f"over {number}")
        answer["seconds"] = time.monotonic() - began
        answer["log"] = self._log()
        if answer["stopped"] and not answer["stack"]:
            self._look_again(state, answer, deadline_s)
        return answer

    def put(self, number: int, nodes: Sequence[str], deadline_s: float) -> None:
        """Put a state on the disks and start its array, for something to be done to it.

        Raises:
            OSError, Hung: it does not start.
        """
        self._mark(f"state {number}")
        self._array.assemble(nodes, deadline_s)
        self._array.settle(nodes, deadline_s)
        self._array.close()

    def put_away(self, deadline_s: float) -> None:
        """Stop the array of `put`, whatever has become of it.

        Raises:
            OSError, Hung: it does not stop.
        """
        self._array.stop(deadline_s)

    def _start(
        self, nodes: Sequence[str], answer: Answer, *, by_mdadm: bool, deadline_s: float
    ) -> None:
        answer["doing"] = "assemble"
        if by_mdadm:
            ended = self._array.assemble_by_mdadm(nodes, deadline_s)
            answer["assembled"] = ended["status"] == 0
            answer["stack"] = ended["stack"]
            if answer["assembled"] or answer["stack"]:
                return
            # What md itself makes of it is of interest as well.
            answer["refused"] = ended["output"]
            with contextlib.suppress(OSError):
                self._array.stop(deadline_s)
        try:
            self._array.assemble(nodes, deadline_s)
        except OSError as error:
            answer["error"] = f"md: {error.strerror}"
        else:
            answer["assembled"] = True

    def _look(self, state: Answer, answer: Answer) -> None:
        """Look at the array while it is up."""
        answer["doing"] = "read back"
        if state["read_pages"]:
            answer["read"] = self._array.read_pages(state["read_pages"], LOOK_DEADLINE_S)
        answer["doing"] = "check"
        if state["check_sectors"]:
            found = self._array.check(state["check_sectors"], LOOK_DEADLINE_S)
            answer["mismatch_sectors"] = found

    def _end(self, answer: Answer, *, by_mdadm: bool, deadline_s: float) -> None:
        answer["doing"] = "stop"
        if by_mdadm and not answer["refused"]:
            self._array.close()
            self._array.stop_by_mdadm()
        else:
            self._array.stop(deadline_s)
        answer["stopped"] = True

    def _look_again(self, state: Answer, answer: Answer, deadline_s: float) -> None:
        """Go back to what recovery made of the state: recover that, and read it degraded."""
        number, nodes = state["number"], state["nodes"]
        if state["again"]:
            self._mark(f"back {number}")
            second = answer["second"] = _nothing_yet()
            self._start_and_stop(nodes, second, (), deadline_s, settled=f"settled-again {number}")
        answer["degraded"] = []
        for left_out in state["without"]:
            if _is_hung(answer):
                return
            self._mark(f"back {number}")
            degraded = _nothing_yet()
            answer["degraded"].append(degraded)
            left = [node for node in nodes if node not in left_out]
            self._start_and_stop(left, degraded, state["read_pages"], deadline_s)

    def _start_and_stop(
        self,
        nodes: Sequence[str],
        answer: Answer,
        read_pages: Sequence[int],
        deadline_s: float,
        *,
        settled: str = "",
    ) -> None:
        began = time.monotonic()
        try:
            self._start(nodes, answer, by_mdadm=False, deadline_s=deadline_s)
            if answer["assembled"]:
                answer["assemble_s"] = time.monotonic() - began
                if settled:
                    answer["settled"] = self._array.settle(nodes, deadline_s)
                    self._mark(settled)
                if read_pages:
                    answer["doing"] = "read back"
                    answer["read"] = self._array.read_pages(read_pages, LOOK_DEADLINE_S)
            self._end(answer, by_mdadm=False, deadline_s=deadline_s)
        except Hung as hung:
            answer["stack"] = str(hung)
        except OSError as error:
            self._give_up(answer, error, deadline_s)
        answer["seconds"] = time.monotonic() - began
        answer["log"] = self._log()

    def _give_up(self, answer: Answer, error: OSError, deadline_s: float) -> None:
        """Note what failed, and stop the array, for the next state must not find it there."""
        answer["error"] = f"{answer['doing']}: {error.strerror}"
        if not answer["assembled"] or answer["doing"] == "stop":
            return
        try:
            self._array.stop(deadline_s)
            answer["put_away"] = True
        except Hung as hung:
            answer["stack"] = str(hung)
        except OSError as stop:
            answer["error"] += f"; stop: {stop.strerror}"

    def _log(self) -> list[str]:
        """Return what the kernel said since the last time."""
        lines: list[str] = []
        while True:
            try:
                record = os.read(self._kmsg, 8192).decode(errors="replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:  # overwritten while it was read
                continue
            lines.append(record.partition(";")[2].split("\n", 1)[0])


def ends_the_guest(answer: Answer) -> bool:
    """Whether the array could not be got rid of: no other state can be recovered here."""
    parts = _parts(answer)
    left = any(p["assembled"] and not (p["stopped"] or p["put_away"]) for p in parts)
    return left or _is_hung(answer)


def _nothing_yet() -> Answer:
    return {
        "assembled": False, "settled": False, "stopped": False, "error": "", "stack": "",
        "refused": "", "doing": "", "put_away": False,
    }  # fmt: skip


def _is_hung(answer: Answer) -> bool:
    return any(part["stack"] for part in _parts(answer))


def _parts(answer: Answer) -> list[Answer]:
    """Return all times that an array was assembled for one state."""
    second = [answer["second"]] if "second" in answer else []
    return [answer, *second, *answer.get("degraded", ())]
