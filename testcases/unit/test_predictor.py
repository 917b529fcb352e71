"""A prediction that is reused is the one that would have been made anew."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.crash.content import DiskContent
from harness.recovery.era import NEWEST_ERA
from harness.verdict.predicted_state import JournalGone, Predictor, predict_state
from testcases.unit.written_arrays import WrittenArray, array_of, noise

SECTOR = 512


def contents_of(array: WrittenArray, folder: Path) -> dict[str, DiskContent]:
    contents = {}
    for path in array.store(folder):
        contents[path.name] = content = DiskContent()
        content.write(0, path.read_bytes())
    return contents


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, DiskContent]]:
    """States of an array with stripes of all kinds in its log, whose disks lost this and that."""
    array = WrittenArray(array_of())
    array.write({0: noise(-1), 16: noise(-2)})
    array.write({72: noise(-3)})
    array.write_data_only({136: noise(-4)})
    whole = contents_of(array, tmp_path_factory.mktemp("images"))
    draw = random.Random(4)
    found = []
    for _ in range(200):
        state = {name: content.copy() for name, content in whole.items()}
        for _ in range(draw.randrange(3)):
            name = draw.choice(sorted(state))
            block = draw.randrange(2, 12)  # of the log, or of what is written out
            state[name].write(4096 * block, bytes(draw.choice([8, 4096])))
        found.append(state)
    return found


def test_many_states_are_predicted_as_each_alone(states: list[dict[str, DiskContent]]) -> None:
    sizes = {name: 4096 * (1 + max(content.blocks)) for name, content in states[0].items()}
    predictor = Predictor(sizes, NEWEST_ERA, stripe_cache_size=256)
    identities = set()
    for state in states:
        found = predictor.predict(state)
        alone = predict_state(state, sizes, NEWEST_ERA, stripe_cache_size=256)
        identities.add(found.identity)
        assert found.identity == alone.identity
        assert found.plan == alone.plan
        for name, content in alone.after.items():
            assert list(found.after[name].differing(content)) == [], name
            assert found.before[name] is state[name]
    assert 10 < len(identities) < len(states), "some are alike, and not all"


def test_an_array_that_has_lost_its_journal_is_told_apart(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})
    contents = contents_of(array, tmp_path)
    sizes = {name: 4096 * (1 + max(content.blocks)) for name, content in contents.items()}
    del contents["journal.img"]
    with pytest.raises(JournalGone) as gone:
        predict_state(contents, sizes, NEWEST_ERA, stripe_cache_size=256)
    assert (gone.value.array.journal, gone.value.stale) == (None, 0)
