"""Learning rate and batch: exact recovery of the bowl, what cannot be told is refused, the study of this repository."""

import csv
import pathlib

import numpy as np
import pytest

from scaling.fitting.refusals import NotConvex, OneLine, TooFewRuns
from scaling.laws import learning_rate

CURVATURE = np.array([[0.05, -0.01], [-0.01, 0.02]])
POWERS = np.array([[0.6, -0.4, 0.3], [2.0, 0.0, 0.5]])


def bowls(noise: float = 0.0):
  rows, rng = [], np.random.default_rng(0)
  for n in (1e6, 1e7, 1e8):
    for d in (1e8, 1e9):
      best = POWERS @ [1, np.log(n), np.log(d)]
      for i in (-1.0, 0.2, 1.1):
        for j in (-0.7, 0.0, 1.4):
          x = best + [i, j]
          log = 1.0 + n**-0.1 + 0.5 * np.array([i, j]) @ CURVATURE @ [i, j] + noise * rng.standard_normal()
          rows.append((n, d, np.exp(log), *np.exp(x)))
  params, tokens, loss, rate, batch = np.array(rows).T
  return params, tokens, loss, {"learning_rate": rate, "batch_tokens": batch}


def test_bowl_is_recovered_exactly():
  law = learning_rate.fit(*bowls(), draws=0, seed=0)
  assert law.powers == pytest.approx(POWERS, abs=1e-6)
  assert law.curvature == pytest.approx(CURVATURE, rel=1e-6)
  best = law.best(3e7, 5e8)
  assert best["learning_rate"] == pytest.approx(np.exp(POWERS[0] @ [1, np.log(3e7), np.log(5e8)]), rel=1e-6)
  assert law.penalty(3e7, 5e8, **best) == pytest.approx(0, abs=1e-12)
  double = law.penalty(3e7, 5e8, learning_rate=2 * best["learning_rate"])
  assert double == pytest.approx(0.5 * 0.05 * np.log(2) ** 2, rel=1e-5)


def test_noise_is_told_and_the_interval_holds_the_truth():
  law = learning_rate.fit(*bowls(0.002), draws=200, seed=0)
  assert law.noise == pytest.approx(0.002, rel=0.4)
  low, high = np.nanquantile(law.draws[:, 0, 1], [0.005, 0.995])
  assert low < -0.4 < high


def test_what_the_table_cannot_tell_is_refused():
  params, tokens, loss, knobs = bowls()
  ray = tokens == np.where(params == 1e6, 1e8, np.where(params == 1e8, 1e9, 0))
  some = {name: v[ray] for name, v in knobs.items()}
  with pytest.raises(OneLine):
    learning_rate.fit(params[ray], tokens[ray], loss[ray], some, 0, 0)
  by_size = learning_rate.fit(params[ray], tokens[ray], loss[ray], some, 0, 0, axes=("params",))
  assert by_size.powers[0, 2] == 0  # what the data did is put down to the size, and said so
  with pytest.raises(NotConvex):
    learning_rate.fit(params, tokens, 1 / loss, knobs, 0, 0)
  few = knobs["learning_rate"] == knobs["learning_rate"]
  with pytest.raises(TooFewRuns, match="learning_rate"):
    learning_rate.fit(params, tokens, loss, {"learning_rate": np.where(few, 0.1, 0.2)}, 0, 0)


def test_study_of_this_repository_has_one_rate_for_every_width():
  """results/rate: with muP the best rate does not move over a tenfold N, and falls with the data as its rule says."""
  path = pathlib.Path(__file__).parents[3] / "results" / "rate" / "runs.csv"
  with open(path, newline="") as file:
    rows = list(csv.DictReader(file))
  params, tokens, loss, rate = (
    np.array([float(r[name]) for r in rows]) for name in ("params", "tokens", "loss", "learning_rate")
  )
  law = learning_rate.fit(params, tokens, loss, {"learning_rate": rate}, draws=300, seed=0)
  _, by_size, by_data = np.nanquantile(law.draws[:, 0], [0.025, 0.975], axis=0).T
  assert by_size[0] < 0 < by_size[1] < 0.15
  assert by_data[0] < -1 / 4 < by_data[1] < -0.15
  for data in (1e5, 4e5, 1.6e6):  # the rule, 0.008 (0.4 M / D)^(1/4), loses less than a seed's spread of 0.01
    assert law.penalty(11344, data, learning_rate=0.008 * (4e5 / data) ** 0.25) < 0.01
