"""Which oracles look at which states: as asked, and the same again whoever asks."""

from __future__ import annotations

import click
import pytest

from harness.campaign.exploring.oracles import EVERY, Oracles, Sampled
from tools.oracle_option import OraclesType


def converted(text: str) -> Oracles:
    return OraclesType().convert(text, None, None)


def test_words_and_shares_are_understood() -> None:
    assert converted("all").shares == EVERY
    assert converted("fast").shares == {}
    assert 0 < converted("some").shares[Sampled.INTERRUPTED] < 1
    assert converted("check,degraded=0.5").shares == {Sampled.CHECK: 1.0, Sampled.DEGRADED: 0.5}


@pytest.mark.parametrize("text", ["chek", "check=much", "", "check,,second"])
def test_what_is_no_oracle_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(click.BadParameter, match="check, degraded, second, interrupted"):
        converted(text)


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan"])
def test_a_share_is_a_share(share: str) -> None:
    with pytest.raises(click.BadParameter, match="from 0 to 1"):
        converted(f"check={share}")


def test_a_sample_is_drawn_by_seed_and_number_alone() -> None:
    oracles = converted("check=0.25")
    chosen = [oracles.look_at(Sampled.CHECK, seed=1, number=n) for n in range(4000)]
    assert chosen == [oracles.look_at(Sampled.CHECK, seed=1, number=n) for n in range(4000)]
    assert 800 < sum(chosen) < 1200
    assert not any(oracles.look_at(Sampled.SECOND, seed=1, number=n) for n in range(100))
    every = Oracles(EVERY)
    assert all(every.look_at(each, seed=1, number=n) for n in range(100) for each in Sampled)
