"""Pace, verdict and law of a metric over compute, on tables whose truth is known."""

import numpy as np
import pytest

from scaling.fitting import saturation
from scaling.fitting.saturation import Cells
from scaling.laws import henighan

SIZES, SEEDS, WORLDS = 12, 3, 4
FLOPS = np.repeat(np.geomspace(2.5e9, 2e12, SIZES), SEEDS)
STRATA = np.repeat(np.arange(SIZES), SEEDS)
MIDDLE = float(np.log(FLOPS).mean())
EPISODES = np.full((len(FLOPS), WORLDS), 12.0)


def cells(truth: np.ndarray, run: float, world: float, episode: float, seed: int) -> Cells:
  """Normal noise of runs, of worlds (the same for all runs) and of what is left, as shares of the truth's mean."""
  rng = np.random.default_rng(seed)
  noise = run * rng.standard_normal((len(truth), 1)) + world * rng.standard_normal((1, WORLDS))
  return Cells(
    truth[:, None] + truth.mean() * (noise + episode * rng.standard_normal(EPISODES.shape)), EPISODES
  )


def power(alpha: float, floor: float) -> np.ndarray:
  return henighan.Law(floor, 1.0, alpha, MIDDLE).value(FLOPS)


def test_pace_is_the_share_of_a_straight_line_that_a_decade_takes_off():
  line = 10 - 2 * np.log10(FLOPS / FLOPS[0])
  drawn = saturation.draw([Cells(line[:, None], np.ones((len(line), 1)))], STRATA, FLOPS, 50, 0)
  found = saturation.pace(FLOPS, drawn, np.ones(len(FLOPS), bool))
  np.testing.assert_allclose(found[0], 2 / line.mean(), rtol=1e-12)
  assert saturation.judge(FLOPS, drawn).verdict == "improves"


@pytest.mark.parametrize(
  ("truth", "verdict"),
  [
    (power(0.25, 0.0), "improves"),
    (power(0.25, 0.0)[::-1], "worsens"),
    (np.maximum(3 - np.log10(FLOPS / FLOPS[0]), 1.4), "saturates"),
    (np.ones(len(FLOPS)), "no effect"),
  ],
)
def test_planted_courses_are_told_apart_and_only_when_the_noise_allows(truth, verdict):
  quiet = saturation.draw([cells(truth, 0.01, 0.3, 0.02, 0)], STRATA, FLOPS, 400, 1)
  assert saturation.judge(FLOPS, quiet).verdict == verdict
  loud = saturation.draw([cells(truth, 1.0, 0.3, 1.0, 3)], STRATA, FLOPS, 400, 1)
  assert saturation.judge(FLOPS, loud).verdict == "cannot tell"


def test_worlds_that_are_hard_for_all_do_not_widen_the_pace_of_what_is_left_by_them():
  """The clusters are common to all runs: what a world adds to every run moves the mean, not the slope."""
  truth = power(0.2, 0.5)
  widths = []
  for world in (0.0, 0.5):
    drawn = saturation.draw([cells(truth, 0.01, world, 0.0, 5)], STRATA, FLOPS, 400, 0)
    low, high = np.quantile(drawn.values[1:, 0] - drawn.values[1:, -1], [0.025, 0.975])
    widths.append(high - low)
  assert widths[1] == pytest.approx(widths[0], abs=1e-9)


def test_intervals_of_the_pace_hold_the_truth():
  truth, late = power(0.2, 0.3), FLOPS.max() / 10 < FLOPS
  exact = saturation.pace(
    FLOPS, saturation.draw([Cells(truth[:, None], EPISODES[:, :1])], STRATA, FLOPS, 1, 0), late
  )[0]
  held = []
  for seed in range(120):
    table = Cells(cells(truth, 0.05, 0.2, 0.1, seed).mean, EPISODES)
    drawn = saturation.draw([table], STRATA, FLOPS, 200, seed)
    low, high = drawn.estimate(saturation.pace(FLOPS, drawn, late), late).ci95
    held.append(low <= exact <= high)
  assert np.mean(held) >= 0.9  # three standard errors below 0.95 are 0.89


def test_runs_that_are_alone_are_given_the_noise_of_the_others_or_of_a_parabola():
  x, alone = np.log(FLOPS), np.arange(len(FLOPS))
  tables = 3 - 0.1 * (x - x[0]) + 0.05 * np.random.default_rng(0).standard_normal((400, len(x)))
  for strata in (STRATA, alone):
    found = [saturation.spread(table, strata, FLOPS) for table in tables]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(0.05, rel=0.03)
  noisy = tables[1]
  widths = []
  for strata in (STRATA, alone):
    drawn = saturation.draw([Cells(noisy[:, None], np.ones((len(x), 1)))], strata, FLOPS, 400, 0)
    low, high = saturation.judge(FLOPS, drawn).whole.ci95
    widths.append(high - low)
  assert widths[1] == pytest.approx(widths[0], rel=0.3)


def test_rank_correlation_of_metrics_over_the_same_runs():
  good, bad = power(0.3, 0.0)[:, None], power(0.3, 0.0)[::-1][:, None]
  made = [
    saturation.draw([Cells(v, np.ones_like(v))], STRATA, FLOPS, 50, 0) for v in (good, np.exp(good), bad)
  ]
  assert saturation.rank_correlation(made[0], made[1]).value == pytest.approx(1)
  assert saturation.rank_correlation(made[0], made[2]).ci95 == pytest.approx([-1, -1])


def test_the_law_finds_a_planted_exponent_and_floor():
  law = henighan.fit(FLOPS, power(0.25, 0.6))
  assert (law.E, law.A, law.alpha) == pytest.approx((0.6, 1.0, 0.25), rel=1e-4)
  held = []
  for seed in range(20):
    drawn = saturation.draw([cells(power(0.25, 0.6), 0.02, 0.0, 0.02, seed)], STRATA, FLOPS, 64, seed)
    first = henighan.fit(FLOPS, drawn.values[0])
    laws = henighan.resample(first, FLOPS, drawn.values[1:], drawn.weights[1:])
    low, high = drawn.estimate(np.append(first.alpha, laws.alpha), np.ones(len(FLOPS), bool)).ci95
    held.append(low <= 0.25 <= high)
  assert np.mean(held) >= 0.8


def test_a_metric_that_grows_or_is_nought_has_a_flat_law():
  growing = henighan.fit(FLOPS, power(0.25, 0.0)[::-1])
  assert np.ptp(growing.value(FLOPS)) < 1e-6 * growing.E
  assert henighan.fit(FLOPS, np.zeros(len(FLOPS))).value(FLOPS) == pytest.approx(0, abs=1e-6)
