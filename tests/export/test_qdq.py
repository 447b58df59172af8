"""A product and a sum of two axes, of which a capture makes one Gemm, quantised in every way."""

import functools

import numpy as np
import pytest

from export import calibration, onnx_capture, processor, qdq, runtimes
from export.exportable import Exportable
from export.judge import distance
from export.recipe import Recipe, Site
from export.reference import reference
from tests.export.test_artifacts import saved

RNG = np.random.default_rng(0)
# Nowhere negative: sums of two products of 8 bits are beyond 16.
WEIGHTS = {"w": RNG.uniform(0.5, 1, (64, 8)).astype(np.float32), "b": RNG.normal(0, 50, 8).astype(np.float32)}
X = RNG.uniform(0.5, 1, (4, 64)).astype(np.float32)
ONE = Exportable(lambda weights, x: {"y": x @ weights["w"] + weights["b"][None]}, WEIGHTS, {"x": X})


@functools.cache
def gemm():
  return onnx_capture.capture(ONE)


def static(signed: bool) -> Recipe:
  return calibration.static_recipe(calibration.observe(ONE, [{"x": X}]), "minmax", signed, 8, {})


RECIPES = {
  "unsigned": (lambda: static(signed=False), runtimes.onnxruntime),
  "signed": (lambda: static(signed=True), runtimes.openvino),
  "dynamic": (lambda: Recipe({"w": Site(8, "dynamic")}, {}), runtimes.onnxruntime),
  "weights alone": (lambda: Recipe({"w": Site(8, "float")}, {}), runtimes.onnxruntime),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("exactly", [True, False])
def test_a_gemm_answers_as_its_twin(name, exactly, tmp_path, monkeypatch):
  """Also of what was not calibrated on, which is clipped; and by the kernels for processors without VNNI."""
  assert [(node.op_type, len(node.input)) for node in gemm().graph.node] == [("Gemm", 3)]
  monkeypatch.setattr(processor, "sums_exactly", lambda: exactly)
  recipe, runtime = RECIPES[name][0](), RECIPES[name][1]
  answer = runtime(saved(qdq.quantised(gemm(), recipe), tmp_path), 1)
  twin = reference(ONE, recipe)
  for x in (X, 3 * X - 1):
    assert distance(answer({"x": x}), twin({"x": x})) < 1e-5
  assert 1e-5 < distance(twin({"x": X}), ONE({"x": X})) < 1e-2


def test_a_gemm_that_does_more_is_refused():
  from onnx import helper

  model = type(gemm())()
  model.CopyFrom(gemm())
  model.graph.node[0].attribute.append(helper.make_attribute("alpha", 2.0))
  with pytest.raises(ValueError, match=r"w is a Gemm with .*alpha.*not a product and a sum"):
    qdq.quantised(model, static(signed=False))


def test_products_that_would_saturate_are_made_otherwise(monkeypatch):
  """x86 without VNNI sums two products of 8 bits in 16; other processors do not, nor does x86 with it."""
  for machine, flags, exactly in (
    ("x86_64", {"avx2"}, False),
    ("x86_64", {"avx2", "avx_vnni"}, True),
    ("aarch64", set(), True),
  ):
    monkeypatch.setattr(processor.platform, "machine", lambda machine=machine: machine)
    monkeypatch.setattr(processor, "described", lambda flags=flags: ("", frozenset(flags)))
    assert processor.sums_exactly() == exactly
    assert ("session.x64quantprecision" in runtimes.session_settings()) != exactly


def test_what_calibration_never_saw_awake_stays_float():
  """y = x W + m V, m 0 in every record: on a grid of nothing, nothing would pass once it is there."""
  weights = {"w": WEIGHTS["w"], "v": RNG.normal(size=(64, 8)).astype(np.float32)}
  example = {"x": X, "m": 0 * X}
  one = Exportable(lambda weights, x, m: {"y": x @ weights["w"] + m @ weights["v"]}, weights, example)
  recipe = calibration.static_recipe(calibration.observe(one, [example]), "mse", False, 8, {})
  assert recipe.calibration["idle"] == ["v"] and recipe.of("w").bits == 8
  awake = {"x": X, "m": X[::-1].copy()}
  assert distance(reference(one, recipe)(awake), one(awake)) < 1e-2
