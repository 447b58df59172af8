import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import mixtures
from data.errors import BadInput
from data.slices import members

NAMES = {"domain": ("highway", "urban", "apron")}
LABELS = {
  "domain": np.repeat([0, 1, 2], [80, 16, 4]),
  "rare": np.concatenate([np.zeros(90, np.uint8), np.ones(10, np.uint8)]),
}
ALL = np.arange(100)


def orders() -> dict[str, mixtures.Order]:
  group, share = mixtures.groups(LABELS, NAMES, "domain", 2.0, "rare=1*3")
  natural, weighted = mixtures.Natural(ALL, 3), mixtures.Weighted(group, share, 3, ALL)
  return {"natural": natural, "weighted": weighted, "replayed": mixtures.Replayed(weighted, natural, 0.3)}


@pytest.mark.parametrize("name", ["natural", "weighted", "replayed"])
@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 900), length=st.integers(1, 300))
def test_a_position_means_the_same_however_it_is_reached(name, start, length):
  """What a process that starts at `start` reads, all at once or every third, is what was to come there."""
  whole = orders()[name].at(np.arange(1200))
  fresh = orders()[name]
  np.testing.assert_array_equal(fresh.at(np.arange(start, start + length)), whole[start : start + length])
  np.testing.assert_array_equal(
    fresh.at(np.arange(start, start + length, 3)), whole[start : start + length : 3]
  )


def test_natural_reads_each_record_once_an_epoch():
  read = mixtures.Natural(ALL[::2], 0).at(np.arange(150)).reshape(3, 50)
  assert all(sorted(epoch) == list(range(0, 100, 2)) for epoch in read.tolist())
  assert read[0].tolist() != read[1].tolist()


@pytest.mark.parametrize(
  ("temperature", "expected"),
  [(1.0, [80, 16, 4]), (2.0, [60, 27, 13]), (1e9, [34, 33, 33])],  # 80^.5, 16^.5, 4^.5 = 8.94, 4, 2 of 14.94
)
def test_temperature_divides_an_epoch_exactly(temperature, expected):
  group, share = mixtures.groups(LABELS, NAMES, "domain", temperature, "")
  order = mixtures.Weighted(group, share, 0, ALL)
  for epoch in range(3):
    read = order.at(np.arange(100 * epoch, 100 * (epoch + 1)))
    assert np.bincount(LABELS["domain"][read]).tolist() == expected
  assert order.sampled_G.tolist() == expected and order.natural_G.tolist() == [80, 16, 4]


def test_inside_a_group_records_come_equally_often():
  """Also those that come less than once in an epoch: after many, their counts differ by one at most."""
  group, share = mixtures.groups(LABELS, NAMES, "domain", 1e9, "")
  counts = np.bincount(mixtures.Weighted(group, share, 0, ALL).at(np.arange(700)), minlength=100)
  for domain in range(3):
    assert np.ptp(counts[LABELS["domain"] == domain]) <= 1
  assert counts.min() > 0


def test_a_boost_is_a_ratio_of_frequencies_and_splits_no_tempered_cell_otherwise():
  group, share = mixtures.groups(LABELS, NAMES, "", 1.0, "rare=1*4")
  read = mixtures.Weighted(group, share, 0, ALL).at(np.arange(100))
  assert LABELS["rare"][read].sum() == round(100 * 40 / 130)
  group, share = mixtures.groups(LABELS, NAMES, "domain", 2.0, "rare=1*1")  # no boost at all
  whole = mixtures.groups(LABELS, NAMES, "domain", 2.0, "")[1]
  np.testing.assert_allclose(np.bincount([0, 1, 2][: len(share)], share), whole)


def test_boosts_multiply():
  group, share = mixtures.groups(LABELS, NAMES, "", 1.0, "rare=1*4;domain=apron*2")
  weight_N = (share / np.bincount(group))[group]
  np.testing.assert_allclose(weight_N / weight_N[0], np.repeat([1.0, 4.0, 8.0], [90, 6, 4]))


@settings(max_examples=30, deadline=None)
@given(
  share=st.lists(st.floats(0, 10), min_size=1, max_size=8).filter(lambda s: sum(s) > 0.1),
  total=st.integers(1, 99),
)
def test_quotas_sum_and_lie_within_one(share, total):
  found = mixtures.quotas(np.array(share), total)
  exact = total * np.array(share) / sum(share)
  assert found.sum() == total and (np.abs(found - exact) < 1 + 1e-9).all()
  assert (found[np.array(share) == 0] == 0).all()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 2 / 3])
def test_every_stretch_holds_the_share_of_old_records(share):
  order = mixtures.Replayed(mixtures.Natural(ALL[:50], 0), mixtures.Natural(ALL[50:], 0), share)
  old = order.at(np.arange(600)) >= 50
  for size in (8, 32):
    per_batch = old[: 600 // size * size].reshape(-1, size).sum(1)
    assert (np.abs(per_batch - share * size) < 1 + 1e-9).all()
  assert sorted(order.at(np.arange(600))[~old][:50]) == list(range(50)), "each fresh record once an epoch"


@pytest.mark.parametrize(
  ("text", "expected"),
  [("domain=apron", 4), ("domain=urban|apron", 20), ("domain=urban,rare=1", 6), ("rare=0", 90)],
)
def test_slices(text, expected):
  assert members(text, LABELS, NAMES).sum() == expected


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("domain", "no axis=value"),
    ("domian=urban", "did you mean 'domain'"),
    ("domain=desert", "choose one of highway, urban, apron"),
    ("rare=yes", "whole number"),
    ("domain=highway,rare=1", "no record is in this slice"),
  ],
)
def test_slices_that_are_wrong_are_named(text, words):
  with pytest.raises(BadInput, match=words):
    members(text, LABELS, NAMES)


def test_mixtures_that_are_wrong_are_named():
  with pytest.raises(BadInput, match="no slice\\*factor"):
    mixtures.groups(LABELS, NAMES, "", 1.0, "rare=1")
  with pytest.raises(BadInput, match="records carry no 'wether'"):
    mixtures.groups(LABELS, NAMES, "wether", 1.0, "")
  group, share = mixtures.groups(LABELS, NAMES, "domain", 1.0, "domain=highway*1e6")
  with pytest.raises(BadInput, match="lower the boosts"):
    mixtures.Weighted(group, share, 0, ALL)
  with pytest.raises(BadInput, match="replay share is 1"):
    mixtures.Replayed(mixtures.Natural(ALL, 0), mixtures.Natural(ALL, 0), 1.0)


def test_weights_restore_the_natural_mean_of_an_oversampled_order():
  """Over 16 epochs every record of a group is read equally often: 60, 27 and 13 of 80, 16 and 4 in each."""
  group, share = mixtures.groups(LABELS, NAMES, "domain", 2.0, "")
  order = mixtures.Weighted(group, share, 3, ALL)
  value_N = np.random.default_rng(0).normal(size=100) + 5.0 * LABELS["domain"]
  places = np.arange(1600)
  read, weight = order.at(places), order.weights(places)
  np.testing.assert_allclose(weight.mean(), 1.0, rtol=1e-6)
  np.testing.assert_allclose((weight * value_N[read]).mean(), value_N.mean(), rtol=1e-6)
  assert value_N[read].mean() > value_N.mean() + 1.0, "unweighed, the rare domains count for more"


def test_weights_restore_it_among_replayed_records_and_of_a_part_of_a_source():
  chosen = np.flatnonzero(LABELS["domain"] > 0)
  group, share = mixtures.groups(
    {axis: label[chosen] for axis, label in LABELS.items()}, NAMES, "domain", 1.0, "domain=apron*4"
  )
  old = mixtures.Natural(np.arange(80), 1)
  order = mixtures.Replayed(mixtures.Weighted(group, share, 3, chosen), old, 0.5)
  assert order.weights(np.arange(7)).dtype == np.float32
  places = np.arange(3200)  # 20 passes of 80 old ones; 80 epochs of 10 and 10 of the 16 and 4 fresh ones
  read, weight = order.at(places), order.weights(places)
  value_N = np.random.default_rng(0).normal(size=100)
  np.testing.assert_allclose((weight * value_N[read]).mean(), value_N.mean(), atol=1e-6)
