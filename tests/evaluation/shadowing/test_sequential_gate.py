"""What is promised is counted: streams of one seed each, most of them of pure noise."""

import functools

import numpy as np
import pytest

from data.errors import BadInput
from evaluation.shadowing import sequential_gate
from evaluation.shadowing.sequential_gate import HOLD, PROMOTE, REJECT, Rule, decide, evidence

RULE = Rule(false_alarm=0.05, margin=0.05, bound=1.0)
STREAM, RARE, TRIALS = 18_000, 0.02, 150
NOISE = 0.15  # of the difference of two scores in [0, 1]


def stream(seed: int, lost: float, records: int = STREAM):
  """Scores in [0, 1] of two runs, the candidate's lower by `lost` on one rare slice, and seven domains."""
  rng = np.random.default_rng(seed)
  rare, domain = rng.random(records) < RARE, rng.integers(0, 7, records)
  incumbent = rng.uniform(0.3, 0.9, records)
  # Cutting at [0, 1] would shrink what is planted.
  candidate = incumbent + rng.uniform(-1, 1, records) * NOISE * np.sqrt(3) - lost * rare
  slices = {f"domain={d}": domain == d for d in range(7)} | {"rare=1": rare, "all": np.ones(records, bool)}
  return candidate, incumbent, np.arange(records), slices


@functools.cache
def decisions(lost: float, trials: int = TRIALS) -> list[sequential_gate.Decision]:
  return [decide(*stream(seed, lost), RULE) for seed in range(trials)]


def test_a_five_point_regression_on_a_rare_slice_is_caught_and_named():
  """5 points lost on 2 % of 18,000 records, differences of a spread of 15 points: about 360 records show it."""
  caught = [one for one in decisions(0.05) if one.verdict == REJECT]
  assert len(caught) >= 0.95 * TRIALS
  named = sum("rare=1" in one.worse for one in caught)
  assert named >= 0.95 * TRIALS


def test_noise_is_rejected_no_oftener_than_was_said():
  """Nine slices, each looked at after every record to the end, of candidates as good as the incumbent."""
  alarms = sum(any(found.worse_after for found in one.slices.values()) for one in decisions(0.0))
  assert alarms <= RULE.false_alarm * TRIALS
  assert sum(one.verdict == PROMOTE for one in decisions(0.0)) >= 0.8 * TRIALS, (
    "most have shown that they are"
  )


def test_a_regression_by_the_margin_is_promoted_no_oftener_than_was_said():
  assert sum(one.verdict == PROMOTE for one in decisions(0.05)) <= RULE.false_alarm * TRIALS


def test_hits_and_misses_need_a_longer_stream():
  """Runs that disagree in one record of ten, 5 points lost: 1,300 records of the slice, 65,000 of the stream."""
  rng = np.random.default_rng(0)
  draw = rng.random((TRIALS, 1300))
  for lost, fewest, most in ((0.05, 0.95, 1.0), (0.0, 0.0, 0.05 / 9 + 0.02)):
    worse = 0.05 + lost / 2
    d = np.where(draw < worse, -1.0, np.where(draw > 1 - (0.1 - worse), 1.0, 0.0))
    share = (evidence(-d, 1.0) >= np.log(9 / 0.05)).any(-1).mean()
    assert fewest <= share <= most


def test_a_repeated_t_test_breaks_the_bound_on_the_same_noise():
  """The planted fault: |t| against its 5 % quantile after every record, on one slice alone."""
  alarms = 0
  for seed in range(TRIALS):
    candidate, incumbent, _, _ = stream(seed, 0.0, 2000)
    d, n = incumbent - candidate, np.arange(1, 2001)
    mean = d.cumsum() / n
    spread = np.sqrt(np.maximum((d**2).cumsum() / n - mean**2, 1e-12) * n / np.maximum(n - 1, 1))
    alarms += bool((mean[20:] > 1.645 * spread[20:] / np.sqrt(n[20:])).any())
  assert alarms > 4 * RULE.false_alarm * TRIALS


def test_evidence_is_the_mean_of_the_bets_products():
  x = np.array([0.5, -0.25, 1.0])
  bets = 0.9 / 2 ** np.arange(8)
  by_hand = [np.mean([np.prod(1 + bet * x[: n + 1] / 2) for bet in bets]) for n in range(3)]
  np.testing.assert_allclose(np.exp(evidence(x, 2.0)), by_hand, rtol=1e-12)
  assert (evidence(np.zeros(5), 1.0) == pytest.approx(0)) and np.isfinite(evidence(-np.ones(9000), 1.0)).all()


def test_evidence_has_mean_one_under_a_fair_coin():
  """The martingale itself: over all 2^10 tosses the mean is 1, to rounding."""
  tosses = 2.0 * ((np.arange(1024)[:, None] >> np.arange(10)) & 1) - 1
  np.testing.assert_allclose(np.exp(evidence(tosses, 1.0)).mean(0), np.ones(10), rtol=1e-12)


def test_what_is_better_is_promoted_and_copies_of_a_record_are_one():
  candidate, incumbent, unit, slices = stream(0, 0.0)
  better = decide(candidate + 0.05, incumbent, unit, slices, RULE)
  assert better.verdict == PROMOTE and better.after < STREAM // 5 and better.open == []
  once = decide(candidate - 0.1, incumbent, unit, {"all": slices["all"]}, RULE)
  copies = [np.repeat(values, 10) for values in (candidate - 0.1, incumbent, unit)]
  again = decide(*copies, {"all": np.repeat(slices["all"], 10)}, RULE)
  assert again.verdict == once.verdict == REJECT and again.after == 10 * once.after
  assert again.slices["all"].worse == pytest.approx(once.slices["all"].worse)


def test_a_slice_without_records_holds_the_candidate():
  candidate, incumbent, unit, slices = stream(0, 0.0)
  one = decide(candidate + 0.05, incumbent, unit, slices | {"empty": ~slices["all"]}, RULE)
  assert one.verdict == HOLD and one.open == ["empty"] and one.after == STREAM


def test_what_cannot_be_judged_is_named():
  candidate, incumbent, unit, slices = stream(0, 0.0, 100)
  bad = np.where(np.arange(100) == 7, np.nan, candidate)
  with pytest.raises(BadInput, match="record 7: a score is not finite"):
    decide(bad, incumbent, unit, slices, RULE)
  with pytest.raises(BadInput, match="do not lie together"):
    decide(candidate, incumbent, unit % 10, slices, RULE)
  with pytest.raises(BadInput, match="no slice"):
    decide(candidate, incumbent, unit, {}, RULE)
  with pytest.raises(BadInput, match="margin 2"):
    decide(candidate, incumbent, unit, slices, Rule(0.05, 2.0, 1.0))
