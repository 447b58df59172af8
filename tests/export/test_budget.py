"""Rooflines against closed forms: arithmetic of a product, bytes of its operands, the longer of their times."""

import math
import pathlib
import types

import numpy as np
import pytest

from data.errors import BadInput
from export import budget, build, targets
from export.quantisers import UNSIGNED, affine
from export.recipe import Recipe, Site

M, K, N = 8, 32, 16
SLOW = budget.Profile("slow", 1e6, 1e5, 1e12, 10.0, {"latency_ms": 1.0})  # arithmetic is the limit
NARROW = budget.Profile("narrow", 1e15, 1e15, 1e3, 10.0, {"latency_ms": 1.0})  # memory is


def graph():
  """reshape(x) W + b, as a capture names it."""
  from onnx import TensorProto, helper, numpy_helper

  rng = np.random.default_rng(0)
  constants = {
    "w": rng.normal(size=(K, N)).astype(np.float32),
    "b": np.zeros((1, 1, N), np.float32),
    "shape": np.array([1, M, K], np.int64),
  }
  nodes = [
    helper.make_node("Reshape", ["x", "shape"], ["rows"], name="reshape"),
    helper.make_node("MatMul", ["rows", "w"], ["product"], name="block/up"),
    helper.make_node("Add", ["product", "b"], ["y"], name="add"),
  ]
  ends = (("x", [M, K]), ("y", [1, M, N]))
  told = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends]
  held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
  return helper.make_model(helper.make_graph(nodes, "g", told[:1], told[1:], held))


def recipe(bits: int, activation: str) -> Recipe:
  at = affine(-1, 1, UNSIGNED, False) if activation == "static" else None
  return Recipe({"block/up": Site(bits, activation, at)}, {})


@pytest.mark.parametrize(
  "made, integers, weight, activation",
  [
    (None, False, 2 * K * N, 2 * M * K),
    (recipe(8, "static"), True, K * N + 4 * N, M * K),
    (recipe(8, "dynamic"), True, K * N + 4 * N, M * K),
    (recipe(4, "float"), False, K * N // 2 + 4 * N, 2 * M * K),
  ],
)
def test_operations_and_bytes_of_a_product(made, integers, weight, activation):
  product, add = budget.operators(graph(), made)
  assert (product.operations, product.integers) == (2 * M * K * N, integers)
  assert product.bytes == activation + weight + 2 * M * N
  assert (add.operations, add.bytes, add.integers) == (M * N, 2 * (2 * M * N + N), False)


def test_an_operator_takes_the_longer_of_arithmetic_and_memory():
  product, add = budget.operators(graph(), recipe(8, "static"))
  assert product.seconds(SLOW) == 2 * M * K * N / 1e6
  assert add.seconds(SLOW) == M * N / 1e5
  assert product.seconds(NARROW) == product.bytes / 1e3
  seconds = product.seconds(SLOW) + add.seconds(SLOW)
  costs = budget.modelled(graph(), recipe(8, "static"), SLOW)
  assert math.isclose(costs["latency_ms"], 1e3 * seconds)
  assert math.isclose(costs["joules"], 10.0 * seconds)
  assert costs["bytes"] == K * N + 4 * N + 4 * N + 4 * 3  # weight and scales, bias, the reshape's shape
  assert budget.modelled(graph(), None, SLOW)["bytes"] == 4 * (K * N + N + 3)


def test_what_fits_is_told_from_what_does_not_and_by_how_much():
  costs = {
    "small": {"latency_ms": 20.0, "joules": 1.0, "bytes": 10},
    "large": {"latency_ms": 30.0, "joules": 3.0, "bytes": 50},
  }

  def limited(**limits):
    return budget.Profile("p", 1.0, 1.0, 1.0, 1.0, limits)

  assert budget.fitting(costs, limited(latency_ms=30.0)) == ["small", "large"]
  assert budget.fitting(costs, limited(latency_ms=30.0, joules=2.0)) == ["small"]
  assert budget.fitting(costs, limited(bytes=9)) == []
  assert budget.nearest(costs, limited(latency_ms=10.0, bytes=20)) == (
    "small comes closest, 2 times the 10 latency_ms"
  )


def test_the_largest_run_is_built_of_which_a_quantised_artifact_fits(monkeypatch):
  small, large = (
    types.SimpleNamespace(path=name, weights={"w": np.zeros(size)}) for name, size in (("s", 1), ("l", 9))
  )
  parts = {
    "s": targets.Parts(None, graph(), recipe(8, "static"), recipe(8, "static"), None),
    "l": targets.Parts(None, graph(), recipe(8, "dynamic"), recipe(4, "float"), None),
  }
  monkeypatch.setattr(build, "prepare", lambda run: (parts[run.path], []))

  def chosen(limit: int, names=("onnx_fp32", "onnx_int8", "tensorrt_int8")):
    profile = budget.Profile("p", 1e6, 1e6, 1e6, 1.0, {"bytes": limit})
    run, _, _, costs = build.largest([small, large], list(names), profile)
    return run.path, list(costs)

  eight, four = (budget.constants_bytes(graph(), recipe(bits, "dynamic")) for bits in (8, 4))
  assert chosen(eight) == ("l", ["onnx_int8", "tensorrt_int8"])
  assert chosen(four) == ("l", ["tensorrt_int8"])
  parts["l"] = targets.Parts(None, graph(), Recipe({}, {}), Recipe({}, {}), None)  # as large as in float
  assert chosen(eight) == ("s", ["onnx_int8", "tensorrt_int8"])
  with pytest.raises(BadInput, match="of s comes closest, 2 times the"):
    chosen(eight // 2)
  with pytest.raises(BadInput, match="none of them is quantised"):
    chosen(eight, ["onnx_fp32"])


def test_profiles_that_are_shipped_name_their_source_and_are_read():
  paths = sorted(pathlib.Path(budget.__file__).parent.joinpath("profiles").glob("*.toml"))
  assert len(paths) >= 5
  for path in paths:
    profile = budget.read_profile(str(path))
    assert profile.int8_per_s > profile.fp16_per_s and path.read_text().count("# ")
  assert "75 W" in budget.read_profile(str(paths[0].with_name("envelope_75w.toml"))).name


@pytest.mark.parametrize(
  "broken, said",
  [
    (("watts = 75.0", "watts = -1.0"), "watts is -1.0"),
    (("watts = 75.0", ""), "has the keys"),
    (("joules =", "jules ="), "limits 'jules'"),
    (("name =", "name"), "is no hardware profile"),
  ],
)
def test_a_broken_profile_is_refused(broken, said, tmp_path):
  whole = pathlib.Path(budget.__file__).with_name("profiles").joinpath("envelope_75w.toml").read_text()
  (tmp_path / "p.toml").write_text(whole.replace(*broken))
  with pytest.raises(BadInput, match=said):
    budget.read_profile(str(tmp_path / "p.toml"))
