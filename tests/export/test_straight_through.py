"""Training with quantised products: what is trained is the artifact, and gradients pass its rounding."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.errors import BadInput
from export import calibration, recipe_file, smoothing
from export.exportable import Exportable
from export.judge import distance
from export.recipe import Recipe, Site
from export.reference import reference
from export.straight_through import quantised_task, twin
from tests.export.test_artifacts import exported
from tests.models.test_counts import MODELS


def test_what_is_trained_is_the_artifact():
  """The task's model answers as the twin of the smoothed weights: INT8, dynamic, four bits, float; weights learn."""
  one, (_, model, inputs, _) = exported("motion"), MODELS["motion"]()
  moves = smoothing.plan(one, [one.example], inputs=True)
  smooth = smoothing.smoothed(one, moves)
  recipe = calibration.static_recipe(calibration.observe(smooth, [one.example]), "minmax", False, 8, {})
  sites = dict(recipe.sites)
  for name, site in zip(list(sites), (Site(8, "dynamic"), Site(4, "float"), Site(32, "float")), strict=False):
    sites[name] = site
  recipe = Recipe(sites, {})

  def loss_fn(params, batch, key):
    logits = model.apply({"params": params}, batch)
    return {"logits": (logits, 1), "objective": (jnp.where(logits > -1e8, logits, 0.0).sum(), 1)}

  @dataclasses.dataclass(frozen=True)
  class Task:
    model: object
    loss_fn: object
    held_out: object

  task = quantised_task(Task(model, loss_fn, loss_fn), one, moves, recipe)
  batch = {
    name: np.concatenate([one.example.get(name, np.asarray(value)[:1])] * 2)
    for name, value in inputs[0].items()
  }
  loss = jax.jit(lambda weights: task.loss_fn(weights, batch, None))
  told = loss(one.weights)["logits"][0]
  expected = reference(smooth, recipe)(one.example)["logits"]
  assert distance({"logits": told[:1]}, {"logits": expected}) < 1e-6
  np.testing.assert_array_equal(told[0], told[1])
  gradients = jax.grad(lambda weights: task.held_out(weights, batch, None)["objective"][0])(one.weights)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients["pair_0"]["time"]["mlp"]))


def test_gradients_pass_the_rounding_and_stop_at_the_clip():
  """y = sum(x W): dy/dW is the rounded x, dy/dx the rounded W where x is inside its range and 0 beyond it."""
  weights = {"w": np.float32([[1.0, 0.3], [-0.5, 0.2]])}
  one = Exportable(lambda weights, x: {"y": x @ weights["w"]}, weights, {"x": np.zeros((1, 2), np.float32)})
  at = calibration.affine(-1.0, 1.0, calibration.SIGNED, True)
  answer = twin(one, [], Recipe({"w": Site(4, "static", at)}, {}))
  x = np.float32([[0.304, 5.0]])
  by_w, by_x = jax.grad(lambda w, x: answer(w, {"x": x})[0].sum(), (0, 1))(weights, x)
  rounded = np.round(0.304 / at.scale) * at.scale, 127 * at.scale
  np.testing.assert_allclose(by_w["w"], np.repeat(np.float32(rounded)[:, None], 2, 1), rtol=1e-6)
  column_sums = np.float32([7 / 7 + 0.3 * 7 / 7, 0])  # of row 0: its own columns' greatest
  np.testing.assert_allclose(by_x[0], column_sums, rtol=1e-6)


def test_a_recipe_survives_its_file_and_another_is_refused(tmp_path):
  at = calibration.affine(-1.0, 1.0, calibration.SIGNED, True)
  recipe, moves = (
    Recipe({"w": Site(8, "static", at)}, {}),
    [smoothing.Move((("a", 0, 0),), (("b", 0, 0),), (2.0,))],
  )
  path = tmp_path / "recipe.json"
  recipe_file.keep(path, recipe, moves)
  assert recipe_file.read(path) == (recipe, moves)
  recipe_file.keep(path, recipe, moves)
  with pytest.raises(BadInput, match="another recipe"):
    recipe_file.keep(path, recipe, [])
  for wrong in (
    {"bits": 7},
    {"activation": "foo"},
    {"at": {"scale": float("nan"), "zero": 0, "grid": {"low": 0, "high": 255}}},
  ):
    found = json.loads(path.read_text())
    found["recipe"]["sites"]["w"] |= wrong
    (tmp_path / "wrong.json").write_text(json.dumps(found))
    with pytest.raises(BadInput, match="holds no recipe"):
      recipe_file.read(tmp_path / "wrong.json")
  (tmp_path / "other.json").write_text("{}")
  with pytest.raises(BadInput, match="holds no recipe"):
    recipe_file.read(tmp_path / "other.json")


def test_a_recipe_of_another_model_is_refused_by_name():
  one = exported("motion")
  recipe = Recipe({"pair_0/time/attention/o": Site(8, "float"), "tail": Site(8, "float")}, {})
  with pytest.raises(BadInput, match="quantises 'tail', which the model has not"):
    recipe_file.check(one, recipe, [])
  move = smoothing.Move((("pair_0/time/norm", 0, 0),), (), (2.0,))
  with pytest.raises(BadInput, match="moves 1 channels of 'pair_0/time/norm'"):
    recipe_file.check(one, Recipe({}, {}), [move])
  recipe_file.check(one, Recipe({}, {}), smoothing.plan(one, [one.example], inputs=True))


def test_a_loss_that_never_calls_its_model_is_refused():
  one, (_, model, _, _) = exported("motion"), MODELS["motion"]()

  @dataclasses.dataclass(frozen=True)
  class Task:
    model: object
    loss_fn: object
    held_out: object

  def loss_fn(params, batch, key):
    return {"objective": (0.0, 1)}

  task = quantised_task(Task(model, loss_fn, loss_fn), one, [], Recipe({}, {}))
  with pytest.raises(BadInput, match="never calls its model"):
    task.loss_fn(one.weights, {}, None)
