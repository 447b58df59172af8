"""Artifacts of every family against JAX: float ones against the model, quantised ones against their twin."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from data.errors import BadInput
from export import calibration, onnx_capture, qdq, runtimes
from export.decoding import DecodeStep, decode_step
from export.exportable import Exportable, arguments, called, forward
from export.judge import distance
from export.recipe import Recipe, Site
from export.reference import reference
from tests.models.test_counts import MODELS

# Of tests/models/test_counts.py: attention, a state space, a learned codebook, queries, cameras, moves of agents.
FAMILIES = ("motion", "codes, hybrid", "tokeniser, learned codebook", "perception, cameras", "policy")


# All that is deployed: every model but the bare trunk, which is inside the others.
DEPLOYED = tuple(name for name in MODELS if not name.startswith("trunk"))
STEP = "motion"  # the family that answers step by step, too


@functools.cache
def told(name: str):
  """(model, weights, the arrays of one record)."""
  _, model, inputs, _ = MODELS[name]()
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"])
  rng = np.random.default_rng(1)

  def drawn(path, leaf):  # nowhere zero, as the initialisation is, which would hide products
    noise = rng.normal(size=leaf.shape) * (0.1 if leaf.ndim < 2 else leaf.shape[0] ** -0.5)
    return jax.numpy.asarray(noise + (path[-1].key == "scale"), leaf.dtype)

  weights = jax.tree.map_with_path(drawn, shapes)
  return model, weights, alone(arguments(model, *inputs))


@functools.cache
def exported(name: str) -> Exportable:
  model, weights, record = told(name)
  return forward(called(model), weights, record)


@functools.cache
def said(name: str) -> dict[str, np.ndarray]:
  """What the model answers its record."""
  one = exported(name)
  answer = jax.jit(one.function).lower(one.weights, *one.example.values())
  quickly = answer.compile(compiler_options={"xla_backend_optimization_level": 0})
  return quickly(one.weights, *one.example.values())


@functools.cache
def step() -> DecodeStep:
  return decode_step(*told(STEP))


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


@pytest.mark.parametrize("name", DEPLOYED)
def test_float_artifact_answers_as_the_model(name, tmp_path):
  one = exported(name)
  answer = runtimes.onnxruntime(saved(captured(name), tmp_path), 1)
  assert distance(answer(one.example), said(name)) < 1e-5


def test_a_step_with_a_cache_adds_up_to_the_window(tmp_path):
  _, _, record = told(STEP)
  path = saved(onnx_capture.capture(step().exported), tmp_path)
  for runtime in (runtimes.onnxruntime, runtimes.openvino):
    answer = step().window(runtime(path, 1))
    assert distance(answer(record), said(STEP)) < 1e-5
  name = next(name for name in record if name.startswith("features"))
  later = record | {name: record[name] + (np.arange(8) >= 5)[None, :, None, None]}
  before, after = (answer(one)["logits"] for one in (record, later))
  np.testing.assert_array_equal(before[:, :5], after[:, :5])
  assert np.abs(before[:, 5:] - after[:, 5:]).max() > 1e-3


def test_a_model_without_a_cache_has_no_step():
  with pytest.raises(BadInput, match="decode_step: PolicyModel has no step with a cache"):
    decode_step(*told("policy"))


def test_a_capture_is_clean():
  """No Einsum, no spelled-out activation or softmax, nothing computed of constants, every site named.

  A normalisation is spelled as runtimes fuse it (test_canonical.py): the only powers are those under its means.
  """
  graph = captured("perception, cameras").graph
  kinds = {node.op_type for node in graph.node}
  assert {"Gelu", "Softmax", "MatMul"} <= kinds
  assert not kinds & {"Einsum", "Erf", "Tanh", "Exp", "Loop", "Identity", "Shape"}
  powers = {node.output[0] for node in graph.node if node.op_type == "Pow"}
  assert {node.op_type for node in graph.node if powers & set(node.input)} <= {"ReduceMean"}
  held = {one.name for one in graph.initializer}
  assert not [node.name for node in graph.node if all(name in held for name in node.input)]
  assert held <= {name for node in graph.node for name in node.input} | {out.name for out in graph.output}


def static(name: str, signed: bool, bits: int = 8) -> Recipe:
  one = exported(name)
  return calibration.static_recipe(calibration.observe(one, [one.example]), "minmax", signed, bits, {})


def every(name: str, site: Site) -> Recipe:
  return Recipe(dict.fromkeys(static(name, False).sites, site), {})


def louder(record: dict) -> dict[str, np.ndarray]:
  """Beyond what was calibrated on, so that activations are clipped."""
  return {name: x * x.dtype.type(3) if x.dtype.kind == "f" else x for name, x in record.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_unsigned_artifact_answers_as_its_twin(name, tmp_path):
  one, recipe = exported(name), static(name, signed=False)
  answer = runtimes.onnxruntime(saved(qdq.quantised(captured(name), recipe), tmp_path), 1)
  twin = reference(one, recipe)
  for record in (one.example, louder(one.example)):
    assert distance(answer(record), twin(record)) < 1e-3
  assert distance(answer(one.example), said(name)) > 1e-4  # it is quantised


@pytest.mark.parametrize("name", ["perception, cameras", "policy"])
def test_signed_artifact_answers_as_its_twin_in_openvino(name, tmp_path):
  one, recipe = exported(name), static(name, signed=True)
  answer = runtimes.openvino(saved(qdq.quantised(captured(name), recipe), tmp_path), 1)
  twin = reference(one, recipe)
  for record in (one.example, louder(one.example)):
    assert distance(answer(record), twin(record)) < 1e-3


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
  assert distance(answer(one.example), said(name)) > 1e-2


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
