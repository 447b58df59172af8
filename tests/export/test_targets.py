"""Every target written and opened: float ones answer as the model, quantised ones as their twin, without a remark."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from export import qdq
from export.exportable import Exportable
from export.judge import distance
from export.recipe import Recipe, Site
from export.reference import reference
from export.targets import TARGETS, Parts
from tests.export.test_artifacts import captured, exported, said, static, step, told

NAME = "policy"


@functools.cache
def parts() -> Parts:
  one = exported(NAME)
  return Parts(one, captured(NAME), static(NAME, signed=False), static(NAME, signed=True), one)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_answers_as_it_should(target, tmp_path, capfd):
  own = TARGETS[target]
  own.write(parts(), tmp_path)
  answer = own.open(tmp_path, 1)(exported(NAME).example)
  assert capfd.readouterr() == ("", "")
  recipe = own.recipe(parts())
  if recipe is None:
    assert distance(answer, said(NAME)) < 1e-5
  else:
    assert distance(answer, reference(exported(NAME), recipe)(exported(NAME).example)) < 1e-3
    assert distance(answer, said(NAME)) > 1e-3  # it is quantised


def test_rows_are_nothing_that_onnx_can_say():
  sites = dict.fromkeys(parts().unsigned.sites, Site(8, "rows"))
  with pytest.raises(ValueError, match="row by row"):
    qdq.quantised(parts().graph, Recipe(sites, {}))


def test_a_constant_in_a_product_that_is_no_site_opens_in_litert(tmp_path):
  """Queries that are learned, head by head: a product of batches, of which LiteRT's integers are no more than half."""
  rng = np.random.default_rng(0)
  weights = {"query": rng.normal(size=(2, 3, 8)).astype(np.float32), "key": np.eye(8, dtype=np.float32)}

  def function(weights, x_HxSxK):
    return {"y": jnp.einsum("hqk,hsk->hqs", weights["query"], x_HxSxK @ weights["key"])}

  one = Exportable(function, weights, {"x": rng.normal(size=(2, 5, 8)).astype(np.float32)})
  TARGETS["litert_int8"].write(Parts(one, None, parts().unsigned, parts().signed, one), tmp_path)
  answer = TARGETS["litert_int8"].open(tmp_path, 1)
  assert distance(answer(one.example), reference(one, _rows("key"))(one.example)) < 1e-3


def _rows(*sites: str) -> Recipe:
  return Recipe(dict.fromkeys(sites, Site(8, "rows")), {})


def test_a_step_with_a_cache_runs_in_litert(tmp_path):
  """Rows of a step are rows of the window: its quantised artifact adds up to the quantised window."""
  recipe = static("motion", signed=False)
  one = Parts(step().exported, None, recipe, recipe, exported("motion"), step())
  own = TARGETS["litert_int8"]
  own.write(one, tmp_path)
  record = told("motion")[2]
  answer = one.to_records(own.open(tmp_path, 1))(record)
  rows = own.recipe(one)
  assert distance(answer, one.to_records(reference(step().exported, rows))(record)) < 1e-3
  assert distance(answer, reference(exported("motion"), rows)(record)) < 1e-3
