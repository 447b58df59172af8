"""Secure aggregation: the sum to the last bit with a third of the fleet gone, and nothing else."""

import numpy as np
import pytest
from scipy import stats

from data.errors import BadInput
from federated import secure_aggregation as secure
from federated import shamir

LIKE = {"a": np.zeros((3, 4)), "b": np.zeros(5)}


def entropy(seed):
  return np.random.default_rng(seed).bytes


def everyone(count: int, threshold: int, seed: int = 0):
  """(secrets, public keys, {receiver: {sender: shares}}) of vehicles 1..count."""
  source = entropy(seed)
  secrets = {place: secure.draw(source) for place in range(1, count + 1)}
  keys = {place: secure.public(own) for place, own in secrets.items()}
  sent = {place: secure.shares(own, place, keys, threshold, source) for place, own in secrets.items()}
  received = {place: {sender: sent[sender][place] for sender in sent} for place in sent}
  return secrets, keys, received


def updates(count: int):
  rng = np.random.default_rng(5)
  return {place: {"a": rng.normal(size=(3, 4)), "b": 9 * rng.normal(size=5)} for place in range(1, count + 1)}


def aggregated(gone_before: set, gone_after: set, count: int = 10, threshold: int = 6):
  """(sum that the server finds, encodings of the vehicles)."""
  secrets, keys, received = everyone(count, threshold)
  x = {place: secure.encode(update, 16, count) for place, update in updates(count).items()}
  arrived = {p: secure.masked(secrets[p], p, keys, x[p]) for p in keys if p not in gone_before}
  told = {
    p: secure.unmask(secrets[p], p, keys, received[p], set(arrived), threshold)
    for p in arrived
    if p not in gone_after
  }
  return secure.total(arrived, keys, told, threshold), x


@pytest.mark.parametrize(
  ("before", "after"), [(set(), set()), ({1, 5, 10}, set()), ({2, 3}, {7}), (set(), {1, 2, 3, 4})]
)
def test_the_sum_is_exact_whoever_vanishes_and_when(before, after):
  got, x = aggregated(before, after)
  expected = np.sum([value for place, value in x.items() if place not in before], axis=0, dtype=np.uint32)
  np.testing.assert_array_equal(got, expected)
  decoded = secure.decode(got, 16, LIKE)
  own = [update for place, update in updates(10).items() if place not in before]
  for name in LIKE:
    floats = np.sum([update[name] for update in own], axis=0)
    assert decoded[name].shape == LIKE[name].shape
    np.testing.assert_allclose(decoded[name], floats, rtol=0, atol=len(own) * 2.0**-17)


@pytest.mark.parametrize(
  ("before", "after", "says"),
  [
    ({1, 2, 3, 4, 5}, set(), "sums of 5 vehicles, where 6 is the threshold"),
    ({1, 2}, {3, 4, 5}, "answers of 5 vehicles, where 6 is the threshold"),
  ],
)
def test_fewer_survivors_than_the_threshold_are_refused(before, after, says):
  with pytest.raises(BadInput, match=says):
    aggregated(before, after)


def uniform(y: np.ndarray) -> float:
  """p-value of the chi-square test of its bytes."""
  counts = np.bincount(np.ascontiguousarray(y).view(np.uint8), minlength=256)
  return float(stats.chisquare(counts).pvalue)


def test_what_the_server_sees_of_one_vehicle_is_uniform_whatever_it_sends():
  """Forty aggregations; p-values of uniform bytes are themselves uniform (Kolmogorov and Smirnov)."""
  for update in (np.zeros(5000, np.uint32), np.arange(5000, dtype=np.uint32)):
    assert uniform(update) < 1e-9  # the test would see it
    seen = []
    for seed in range(40):
      secrets, keys, _ = everyone(2, 2, seed)
      seen.append(uniform(secure.masked(secrets[1], 1, keys, update)))
    assert stats.kstest(seen, "uniform").pvalue > 1e-3


def test_the_mask_of_its_own_hides_who_is_taken_for_gone():
  """With the key of a vehicle rebuilt, its pairwise masks are known, and its update is not."""
  secrets, keys, _ = everyone(4, 3)
  x = np.arange(6, dtype=np.uint32)
  y = secure.masked(secrets[1], 1, keys, x)
  for peer in (2, 3, 4):
    y = y - secure._pair_mask(secrets[1].mask, keys[peer].mask, 1, peer, 6)
  assert (y != x).all()
  np.testing.assert_array_equal(y - secure.stream(secrets[1].seed, 6), x)


def test_a_survivor_tells_one_kind_of_share_of_each_vehicle():
  secrets, keys, received = everyone(5, 3)
  told = secure.unmask(secrets[1], 1, keys, received[1], {1, 2, 4}, 3)
  assert (set(told.seeds), set(told.keys)) == ({1, 2, 4}, {3, 5})


def test_shares_cannot_be_read_by_anybody_else():
  from cryptography.exceptions import InvalidTag

  secrets, keys, received = everyone(5, 3)
  with pytest.raises(InvalidTag):
    secure.unmask(secrets[1], 1, keys, received[2], {1, 2, 4}, 3)


def test_any_threshold_of_shares_tells_the_secret_and_fewer_do_not():
  secret = bytes(range(32))
  held = shamir.share(secret, [1, 2, 5, 9, 40], 3, entropy(0))
  for chosen in ((1, 2, 5), (40, 9, 2), (1, 2, 5, 9, 40)):
    assert shamir.rebuild({place: held[place] for place in chosen}, 32) == secret
  with pytest.raises(BadInput, match="2 shares make no secret of 32 bytes"):
    shamir.rebuild({place: held[place] for place in (1, 9)}, 32)
  with pytest.raises(BadInput, match="6 shares of 5"):
    shamir.share(secret, [1, 2, 5, 9, 40], 6, entropy(0))
  with pytest.raises(BadInput, match="at different places"):
    shamir.share(secret, [1, 1], 2, entropy(0))


def test_an_entry_that_could_leave_the_range_of_the_sum_is_refused():
  assert secure.encode({"x": np.array([-1.0])}, 16, 10)[0] == 2**32 - 2**16
  for bad in (4000.0, np.nan):
    with pytest.raises(BadInput, match=r"where 10 times 3\.28e\+03 is what fits"):
      secure.encode({"x": np.array([bad])}, 16, 10)


def test_numbers_that_are_nobodys_do_not_make_a_sum_of_one_a_sum_of_many():
  secrets, keys, received = everyone(5, 3)
  with pytest.raises(BadInput, match="sums of 1 vehicles, where 3 is the threshold"):
    secure.unmask(secrets[1], 1, keys, received[1], {2, 1001, 1002, 1003}, 3)


@pytest.mark.parametrize("threshold", [2, 6])
def test_a_threshold_that_is_no_majority_is_refused(threshold):
  with pytest.raises(BadInput, match=f"a threshold of {threshold} among 5 vehicles"):
    everyone(5, threshold)
