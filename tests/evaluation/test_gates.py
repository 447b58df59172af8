import numpy as np
import pytest
from scipy.stats import t as student

from data.errors import BadInput
from evaluation import gates

RECORDS, SCENES = 400, 80
CITY = np.arange(RECORDS) % 2 == 0


def losses(seed: int, city: float = 0.0, noise: float = 0.1) -> gates.Losses:
  """Nats of records that differ widely, by a scene's and a record's noise; `city` is added there per token."""
  hard = np.random.default_rng(0).gamma(2.0, 1.0, RECORDS)  # what a record costs any weights
  rng = np.random.default_rng(seed)
  unit = np.arange(RECORDS) // (RECORDS // SCENES)
  mean = hard + noise * (rng.normal(size=SCENES)[unit] + rng.normal(size=RECORDS)) + city * CITY
  count = np.random.default_rng(1).integers(5, 50, RECORDS).astype(float)
  return gates.Losses(mean * count, count, unit)


def judged(after: gates.Losses, allowed: float = 0.0, **slices):
  named = slices or {"city": CITY, "country": ~CITY}
  return gates.judge(losses(1), after, {name: (part, allowed) for name, part in named.items()}, 0.95)


def test_a_planted_regression_is_caught_in_its_domain_alone():
  verdicts = judged(losses(2, city=0.1))
  assert {name: verdict.closed for name, verdict in verdicts.items()} == {"city": True, "country": False}
  assert verdicts["city"].change == pytest.approx(0.1, abs=0.05)
  [sentence] = gates.closed(verdicts)
  assert sentence.startswith("city is worse by 0.1")


def test_it_is_not_caught_when_that_much_is_allowed():
  assert gates.closed(judged(losses(2, city=0.1), allowed=0.2)) == []


def test_noise_is_refused_no_oftener_than_was_said():
  """Equal weights but for noise, 200 times: 5 % of them may close one of the two gates, 9 % for chance."""
  refused = sum(bool(gates.closed(judged(losses(seed)))) for seed in range(2, 202))
  assert refused <= 18


@pytest.mark.parametrize("units", [8, 14])
def test_few_units_refuse_and_pass_no_oftener_than_was_said(units):
  """20000 gates at the boundary, scenes as uneven as above: 5 % +- 0.6 %. Scenes drawn again give 6 to 9 %."""
  rng = np.random.default_rng(units)
  count = rng.integers(5, 50, (20000, units, RECORDS // SCENES)).sum(-1).astype(float)
  low, high = gates.bounds(rng.normal(size=count.shape) * count, count, 0.95)
  assert (low > 0).mean() == pytest.approx(0.05, abs=0.006), "closes by noise"
  assert (high <= 0).mean() == pytest.approx(0.05, abs=0.006), "a canary opens by noise"


@pytest.mark.parametrize("level", [0.9, 0.95, 0.9995])
@pytest.mark.parametrize("freedom", [7, 8, 79, 5000])
def test_quantiles_are_students(level, freedom):
  assert gates.student_quantile(level, freedom) == pytest.approx(student.ppf(level, freedom), rel=1e-5)


def test_pairing_finds_what_unpaired_spread_would_hide():
  """The records' own spread is 14 times the change; paired, the change is beyond doubt."""
  verdict = judged(losses(2, city=0.1))["city"]
  spread = np.std(losses(1).sum_N[CITY] / losses(1).count_N[CITY])
  assert spread > 10 * verdict.change and verdict.low > 0.02


def test_a_small_canary_is_seen_inside_a_domain_that_is_not_worse():
  canary = CITY & (np.arange(RECORDS) % 10 == 0)
  after = losses(2, noise=0.02)
  after = gates.Losses(after.sum_N + 0.3 * canary * after.count_N, after.count_N, after.unit_N)
  verdicts = gates.judge(
    losses(1, noise=0.02), after, {"canary": (canary, 0.0), "country": (~CITY, 0.0)}, 0.95
  )
  assert verdicts["canary"].closed and not verdicts["country"].closed


def test_a_canary_of_few_noisy_units_is_closed_until_it_is_shown_not_to_be_worse():
  """Ten scenes that differ by 1 nat of noise and got worse by a quarter: no proof of that, and none against it."""
  few = np.arange(RECORDS) < 10 * (RECORDS // SCENES)
  before = losses(1, noise=1.0)
  after = losses(2, noise=1.0)
  after = gates.Losses(after.sum_N + 0.25 * after.count_N, after.count_N, after.unit_N)

  def verdict(new, allowed, canaries):
    return gates.judge(before, new, {"few": (few, allowed)}, 0.95, canaries)["few"]

  plain, canary = verdict(after, 0.1, ()), verdict(after, 0.1, ("few",))
  assert plain.low < 0.1 < plain.high and not plain.closed
  assert canary.closed and canary.sentence("few").endswith("0.1000 is allowed and must be shown")
  assert not verdict(after, plain.high + 0.01, ("few",)).closed, "enough is allowed"
  assert not verdict(before, 0.0, ("few",)).closed, "nothing has changed"
  with pytest.raises(BadInput, match="canary 'many' is no gate"):
    verdict(after, 0.1, ("many",))


def test_dependent_records_count_as_one_unit():
  """Ten copies of every record are no more evidence than one."""
  once, again = losses(1), losses(2, city=0.01)
  ten = [
    gates.Losses(np.tile(x.sum_N, 10), np.tile(x.count_N, 10), np.tile(x.unit_N, 10)) for x in (once, again)
  ]
  single = gates.judge(once, again, {"city": (CITY, 0.0)}, 0.95)["city"]
  copies = gates.judge(*ten, {"city": (np.tile(CITY, 10), 0.0)}, 0.95)["city"]
  assert copies.units == single.units and copies.low == pytest.approx(single.low)


def test_bounds_agree_with_the_normal_ones():
  verdict = judged(losses(2), all=np.ones(RECORDS, bool))["all"]
  before, after = losses(1), losses(2)
  unit = before.unit_N
  apart = np.bincount(unit, after.sum_N - before.sum_N - verdict.change * before.count_N)
  error = np.sqrt((apart**2).sum()) / before.count_N.sum()  # of a ratio, by its residuals
  np.testing.assert_allclose(
    [verdict.low, verdict.high], verdict.change + 1.645 * error * np.array([-1, 1]), atol=0.15 * error
  )


def test_what_cannot_be_judged_is_named():
  with pytest.raises(BadInput, match="3 scenes tell no noise"):
    judged(losses(2), few=np.arange(RECORDS) < 15)
  other = losses(2)
  with pytest.raises(BadInput, match="different records"):
    judged(gates.Losses(other.sum_N, other.count_N + 1, other.unit_N))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("canaries", [(), ("city",)])
def test_weights_that_have_diverged_pass_no_gate(value, canaries):
  """One record is enough, inside the gate or outside; one that does not count is none."""
  for record in (0, 1):
    after = losses(2)
    after.sum_N[record] = value
    for pair, whose in (((losses(1), after), "that would follow"), ((after, losses(1)), "that are followed")):
      with pytest.raises(BadInput, match=f"{whose} is not finite in 1 of 400"):
        gates.judge(*pair, {"city": (CITY, 9.0)}, 0.95, canaries)
  one, other = losses(1), losses(2)
  one.count_N[3] = other.count_N[3] = 0
  other.sum_N[3] = np.nan
  gates.judge(one, other, {"city": (CITY, 9.0)}, 0.95, canaries)
