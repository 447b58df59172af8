"""Smoothing: what outliers cost is gone, and the function is what it was."""

import dataclasses

import jax
import numpy as np
import pytest

from export import calibration, smoothing
from export.exportable import Exportable
from export.interpreter import path_name
from export.judge import distance
from export.reference import reference
from tests.export.test_artifacts import exported

OUTLIER = 50.0


def planted(one: Exportable) -> Exportable:
  """The same motion model: channel 3 of every norm 50 times as great, the rows of its readers as much less."""

  def changed(path, leaf):
    name = path_name(path)
    if name.endswith("norm/scale"):
      return leaf.at[3].multiply(OUTLIER)
    if name.endswith(("attention/q", "attention/k", "attention/v", "mlp/up")):
      return leaf.at[3].divide(OUTLIER)
    return leaf.at[:, 3].divide(OUTLIER) if name.startswith("head") else leaf

  return dataclasses.replace(one, weights=jax.tree.map_with_path(changed, one.weights))


def naive_error(one: Exportable) -> float:
  """Of INT8 whose ranges are all that was seen."""
  recipe = calibration.static_recipe(calibration.observe(one, [one.example]), "minmax", False, 8, {})
  return distance(reference(one, recipe)(one.example), one(one.example))


def test_planted_outliers_cost_nothing_once_smoothed():
  one = exported("motion")
  with_outliers = planted(one)
  assert distance(with_outliers(one.example), one(one.example)) < 1e-5
  smooth = smoothing.smoothed(with_outliers, smoothing.plan(with_outliers, [one.example], inputs=True))
  for name, value in with_outliers(one.example).items():
    np.testing.assert_array_equal(smooth(one.example)[name], value)  # powers of two round nothing
  plain = naive_error(one)
  assert naive_error(with_outliers) > 3 * plain
  assert naive_error(smooth) < 1.3 * plain


def test_a_scale_that_something_else_reads_is_left_alone():
  """y = norm(x) W may be smoothed, y = norm(x) W + norm(x) may not; of gelu(x U) D the columns of U neither."""
  from models.layers import gelu, rms_norm

  rng = np.random.default_rng(0)
  weights = {name: rng.normal(size=(8, 8)).astype(np.float32) for name in ("w", "u", "d")}
  weights["scale"] = np.exp2(np.arange(8, dtype=np.float32))
  example = {"x": rng.normal(size=(4, 8)).astype(np.float32)}

  def moved(more: float) -> list[smoothing.Move]:
    def function(weights, x):
      y = rms_norm(x, weights["scale"])
      return {"y": y @ weights["w"] + gelu(x @ weights["u"]) @ weights["d"] + more * y}

    return smoothing.plan(Exportable(function, weights, example), [example], inputs=True)

  (move,) = moved(0.0)
  assert (move.divided, move.multiplied) == ((("scale", 0, 0),), (("w", 0, 0),))
  assert moved(1.0) == []
  basis = weights["u"]  # of the function, not of its weights: nothing can make up for a division

  def fixed(weights, x):
    y = rms_norm(x, weights["scale"])
    return {"y": y @ weights["w"] + y @ basis}

  assert smoothing.plan(Exportable(fixed, weights, example), [example], inputs=True) == []


def test_an_input_of_features_of_all_sizes_is_divided_as_it_comes_in():
  rng = np.random.default_rng(0)
  size_K = np.float32([1, 1, 1, 1, 1, 1, 1, 200])
  example = {"x": rng.normal(size=(64, 8)).astype(np.float32) * size_K[None]}
  weights = {"w": rng.normal(size=(8, 8)).astype(np.float32) / size_K[:, None]}
  one = Exportable(lambda weights, x: {"y": x @ weights["w"]}, weights, example)
  assert smoothing.plan(one, [example], inputs=False) == []
  (move,) = smoothing.plan(one, [example], inputs=True)
  assert (move.divided, move.multiplied) == ((("input x", 0, 0),), (("w", 0, 0),))
  smooth = smoothing.smoothed(one, [move])
  np.testing.assert_array_equal(smooth(example)["y"], one(example)["y"])
  assert naive_error(smooth) < naive_error(one) / 10


def test_moves_survive_json():
  move = smoothing.Move((("a/b", 1, 2),), (("c", 0, 1), ("d", 0, 0)), (0.5, 2.0))
  assert smoothing.Move.from_json(dataclasses.asdict(move)) == move


@pytest.mark.parametrize("idle", [1, 2])
def test_a_reader_that_is_idle_in_some_records_or_all_is_found(idle):
  """y = (x G) A + gate (x G) B, gate 0 in the first records or in all: the rows of B must be multiplied, too."""
  rng = np.random.default_rng(0)
  weights = {name: rng.normal(size=(8, 8)).astype(np.float32) for name in ("g", "a", "b")}
  weights["g"][:, 0] *= 64
  records = [
    {"x": rng.normal(size=(1, 4, 8)).astype(np.float32), "gate": np.full((1, 1, 1), gate, np.float32)}
    for gate in (0.0, 0.0, 1.0)
  ]

  def function(weights, gate, x):
    h = x @ weights["g"]
    return {"y": h @ weights["a"] + (gate * h) @ weights["b"]}

  one = Exportable(function, weights, {name: records[0][name] for name in ("gate", "x")})
  moves = smoothing.plan(one, records[2 - idle : 4 - idle], inputs=False)
  assert moves
  smooth = smoothing.smoothed(one, moves)
  for record in records:
    assert distance(smooth(record), one(record)) < 1e-6
