"""Approach 1: a surface whose envelope is known, smoothing that does not lag, and what has no envelope."""

import dataclasses
import json

import numpy as np
import pytest

from data.errors import BadInput
from scaling import fit_json
from scaling.fitting import envelope, refusals
from tests.scaling.surface import DRIVING, Surface

SYMMETRIC = Surface(0.8, 20.0, 20.0, 0.3, 0.3)


def curves(surface, sizes, noise=0.0, ends=1e9, seed=0):
  """Every loss along a curve is that of a run ending there, as with a constant rate."""
  rng = np.random.default_rng(seed)
  made = []
  for k, n in enumerate(sizes):
    tokens = np.geomspace(1e4, ends, 300)
    loss = surface.loss(n, tokens) * np.exp(noise * rng.standard_normal(300))
    made.append(envelope.Curve(f"run{k}", n, 6 * n, tokens, loss, tokens[-1]))
  return [dataclasses.replace(c, horizon=1.0) for c in made]


SIZES = np.geomspace(1e3, 1e7, 25)


@pytest.mark.parametrize("surface", [SYMMETRIC, DRIVING])
def test_envelope_has_the_exponents_of_the_surface(surface):
  found = envelope.fit(curves(surface, SIZES), 0, 0)
  a = surface.beta / (surface.alpha + surface.beta)
  assert found.refusals == ()
  assert found.size.exponent == pytest.approx(a, abs=0.01)
  assert found.data.exponent == pytest.approx(1 - a, abs=0.01)
  middle = np.sqrt(found.flops[0] * found.flops[-1])
  assert found.size(middle) == pytest.approx(surface.optimum(middle)[0], rel=0.1)
  assert 6 * found.params * found.tokens == pytest.approx(found.flops)


def test_intervals_come_from_whole_runs():
  found = envelope.fit(curves(SYMMETRIC, SIZES, noise=0.01), 60, 0)
  low, high = np.nanquantile(found.size.draws[0], [0.025, 0.975])
  assert low < 0.5 < high and 0.002 < high - low < 0.2
  assert found.size.draws.shape == (2, 60)


def test_edges_are_left_out():
  found = envelope.fit(curves(SYMMETRIC, SIZES), 0, 0)
  assert found.params.min() > SIZES[0] and found.params.max() < SIZES[-1]
  small = envelope.fit(curves(SYMMETRIC, np.geomspace(1e8, 1e9, 5), ends=1e6), 0, 0)  # all far too large
  assert small.size is None and isinstance(small.refusals[0], refusals.EdgeMinimum)
  two = envelope.fit(curves(SYMMETRIC, SIZES[:2]), 0, 0)
  assert isinstance(two.refusals[0], refusals.TooFewRuns)


def test_half_finished_schedules_are_refused():
  early = [dataclasses.replace(c, horizon=1e12) for c in curves(SYMMETRIC, SIZES)]
  found = envelope.fit(early, 0, 0)
  assert found.progress < 0.5 and isinstance(found.refusals[-1], refusals.MidSchedule)


def test_smoothing_takes_noise_away_and_does_not_lag():
  tokens = np.geomspace(1e3, 1e6, 2000)
  exact = 3 * tokens**-0.1
  assert envelope.smooth(tokens, exact, tokens[[5, 1000, -1]], 0.05) == pytest.approx(
    exact[[5, 1000, -1]], rel=1e-9
  )
  noisy = exact * np.exp(0.05 * np.random.default_rng(0).standard_normal(2000))
  left = np.log(envelope.smooth(tokens, noisy, tokens, 0.2) / exact)
  assert left.std() < 0.01 and abs(left[-1]) < 0.03


def test_run_directory_is_read(tmp_path):
  records = [{"step": k, "tokens": 100.0 * k, "loss": 3.0 / k} for k in (1, 2, 4)]
  records.insert(1, {"step": 1, "event": "non-finite step skipped"})
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
  row = {"run_id": "x", "params": 1000, "tokens": 400, "flops": 2.8e6}
  (tmp_path / "result.json").write_text(json.dumps(row))
  curve = envelope.read_curve(tmp_path)
  assert curve.tokens.tolist() == [100, 200, 400] and curve.loss.tolist() == [3, 1.5, 0.75]
  assert (curve.run_id, curve.params, curve.flops_per_token, curve.horizon) == ("x", 1000, 7000, 400)
  (tmp_path / "metrics.jsonl").write_text("{broken")
  with pytest.raises(BadInput, match=r"metrics\.jsonl"):
    envelope.read_curve(tmp_path)
  (tmp_path / "metrics.jsonl").unlink()
  with pytest.raises(BadInput, match=r"metrics\.jsonl"):
    envelope.read_curve(tmp_path)


def test_sizes_are_a_and_data_are_b_where_they_differ():
  """alpha = 0.3, beta = 0.6: N* ~ C^(2/3), D* ~ C^(1/3), in fit.json as in the columns of draws.csv."""
  found = envelope.fit(curves(Surface(0.8, 20.0, 400.0, 0.3, 0.6), SIZES, noise=0.002), 20, 0)
  made = fit_json.approach1(found, len(SIZES), ())
  assert made["a"] == pytest.approx(2 / 3, abs=0.03) and made["b"] == pytest.approx(1 / 3, abs=0.03)
  assert made["ci95"]["b"][1] < 0.5 < made["ci95"]["a"][0]
