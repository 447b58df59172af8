"""Artifacts of every family against JAX: float ones against the model, quantised ones against their twin."""

import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from export import calibration, onnx_capture, qdq, runtimes
from export.exportable import Exportable, forward
from export.recipe import Recipe, Site
from export.reference import reference
from models.motion import MotionModel
from models.perception import PerceptionModel
from models.policy import PolicyModel
from models.trunk import Trunk
from tests.models.test_counts import MODELS

# Of tests/models/test_counts.py: what is compared in their answers is finite numbers, not logits of what can never be.
FAMILIES = ("motion", "perception, cameras", "perception, all sensors in tubes", "policy", "codes, full", "tokeniser, learned codebook", "hybrid")


@functools.cache
def exported(name: str) -> Exportable:
  config, model, inputs, _ = MODELS[name]()
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


def apart(answer, expected) -> float:
  """The greatest relative L2 distance of any output, logits of probability zero aside."""
  worst = 0.0
  for name, value in expected.items():
    value, other = np.asarray(value, np.float64), np.asarray(answer[name], np.float64)
    real = np.abs(value) < 1e8
    assert np.isfinite(other).all() and (np.abs(other) < 1e8)[real].all()
    worst = max(worst, np.linalg.norm((value - other)[real]) / max(np.linalg.norm(value[real]), 1e-6))
  return worst


def ort(model, tmp_path):
  import onnx

  path = tmp_path / "model.onnx"
  onnx.save(model, path)
  return runtimes.onnxruntime(path, 1)


@pytest.mark.parametrize("name", MODELS)
def test_float_artifact_answers_as_the_model(name, tmp_path):
  one = exported(name)
  assert apart(ort(captured(name), tmp_path)(one.example), one(one.example)) < 1e-5
