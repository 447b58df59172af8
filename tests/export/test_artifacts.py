"""Artifacts of every family against JAX: float ones against the model, quantised ones against their twin."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from data.errors import BadInput
from export import calibration, onnx_capture, qdq, runtimes
from export.exportable import Exportable, forward
from export.judge import distance
from export.recipe import Recipe, Site
from export.reference import reference
from tests.models.test_counts import MODELS

# Of tests/models/test_counts.py: attention, a state space, a learned codebook, queries, cameras, moves of agents.
FAMILIES = ("motion", "codes, hybrid", "tokeniser, learned codebook", "perception, cameras", "policy")


@functools.cache
def exported(name: str) -> Exportable:
  _, model, inputs, _ = MODELS[name]()
  weights = nn.unbox(model.init(jax.random.key(0), *inputs)["params"])
  # Zeros of the initialisation would hide products; noise shows them.
  keys = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(weights))))
  weights = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), weights)
  return forward(model.apply, weights, alone(inputs[0]))


def alone(batch: dict) -> dict[str, np.ndarray]:
  """The first record of a batch, drawn anew where it is all zeros."""
  rng = np.random.default_rng(0)

  def drawn(x):
    x = np.asarray(x)[:1]
    return rng.normal(size=x.shape).astype(x.dtype) if x.dtype.kind == "f" and not x.any() else x

  return {name: drawn(x) for name, x in batch.items()}


@functools.cache
def captured(name: str, opset: int = onnx_capture.OPSET):
  return onnx_capture.capture(exported(name), opset)


def saved(model, tmp_path):
  import onnx

  path = tmp_path / "model.onnx"
  onnx.save(model, path)
  return path


@pytest.mark.parametrize("name", FAMILIES)
def test_float_artifact_answers_as_the_model(name, tmp_path):
  one = exported(name)
  answer = runtimes.onnxruntime(saved(captured(name), tmp_path), 1)
  assert distance(answer(one.example), one(one.example)) < 1e-5


def test_a_capture_is_clean():
  """No Einsum, no spelled-out activation, normalisation or softmax, nothing computed of constants, every site named."""
  graph = captured("perception, cameras").graph
  kinds = {node.op_type for node in graph.node}
  assert {"Gelu", "Softmax", "MatMul"} <= kinds
  assert not kinds & {"Einsum", "Erf", "Tanh", "Exp", "Pow", "Loop", "Identity", "Shape"}
  held = {one.name for one in graph.initializer}
  assert not [node.name for node in graph.node if all(name in held for name in node.input)]
  assert held <= {name for node in graph.node for name in node.input} | {out.name for out in graph.output}


def static(name: str, signed: bool, bits: int = 8) -> Recipe:
  one = exported(name)
  return calibration.static_recipe(calibration.observe(one, [one.example]), "minmax", signed, bits, {})


def every(name: str, site: Site) -> Recipe:
  return Recipe(dict.fromkeys(static(name, False).sites, site), {})


@pytest.mark.parametrize("name", FAMILIES)
def test_unsigned_artifact_answers_as_its_twin(name, tmp_path):
  one, recipe = exported(name), static(name, signed=False)
  answer = runtimes.onnxruntime(saved(qdq.quantised(captured(name), recipe), tmp_path), 1)
  assert distance(answer(one.example), reference(one, recipe)(one.example)) < 1e-3
  assert distance(answer(one.example), one(one.example)) > 1e-4  # it is quantised


@pytest.mark.parametrize("name", ["perception, cameras", "policy"])
def test_signed_artifact_answers_as_its_twin_in_openvino(name, tmp_path):
  one, recipe = exported(name), static(name, signed=True)
  answer = runtimes.openvino(saved(qdq.quantised(captured(name), recipe), tmp_path), 1)
  assert distance(answer(one.example), reference(one, recipe)(one.example)) < 1e-3


def test_dynamic_artifact_answers_as_its_twin(tmp_path):
  name = "policy"  # the range of pixels is one at which all of them lie halfway between integers
  one, recipe = exported(name), every(name, Site(8, "dynamic"))
  answer = runtimes.onnxruntime(saved(qdq.quantised(captured(name), recipe), tmp_path), 1)
  assert distance(answer(one.example), reference(one, recipe)(one.example)) < 1e-3


def test_four_bit_weights_answer_as_their_twin(tmp_path):
  name = "perception, cameras"
  one, recipe = exported(name), every(name, Site(4, "float"))
  answer = runtimes.onnxruntime(saved(qdq.quantised(captured(name, 21), recipe), tmp_path), 1)
  assert distance(answer(one.example), reference(one, recipe)(one.example)) < 1e-3
  assert distance(answer(one.example), one(one.example)) > 1e-2


def test_sites_of_one_product_that_differ_are_refused():
  recipe = static("policy", False)
  name = next(name for name in recipe.sites if name.endswith("space/attention/q"))
  with pytest.raises(ValueError, match="one product"):
    qdq.quantised(captured("policy"), Recipe({**recipe.sites, name: Site(8, "float")}, {}))


def test_a_weight_that_is_not_finite_is_refused_by_name():
  one = exported("policy")
  weights = dict(one.weights) | {"heads": jax.tree.map(lambda x: x * np.nan, one.weights["heads"])}
  with pytest.raises(BadInput, match="weight heads/"):
    forward(lambda variables, batch: batch, weights, one.example)


def test_jax_numpy_is_as_it_was_after_a_capture():
  captured("policy")
  np.testing.assert_array_equal(jax.numpy.cumsum(np.ones((2, 3)), 0), [[1] * 3, [2] * 3])
