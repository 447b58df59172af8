"""The linter of TensorRT's rules: a clean graph passes, a graph with one rule broken is told which, and where."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.lint import lint


def graph(**changes):
  """x -> Q -> DQ -> MatMul with int8 weights read through DQ, plus a bias: as `export/qdq.py` writes it.

  changes: initialisers by name, or nodes by name, in place of the clean ones; None: left out.
  """
  rng = np.random.default_rng(0)
  constants = {
    "s": np.float32(0.1),
    "z": np.int8(0),
    "w": rng.integers(-127, 128, (4, 3)).astype(np.int8),
    "ws": np.full(3, 0.01, np.float32),
    "wz": np.zeros(3, np.int8),
    "bias": np.zeros(3, np.float32),
  }
  nodes = {
    "quantise": helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
    "dequantise": helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
    "weight": helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=1),
    "product": helper.make_node("MatMul", ["xd", "wd"], ["y0"]),
    "add": helper.make_node("Add", ["y0", "bias"], ["y"]),
  }
  constants |= {name: value for name, value in changes.items() if isinstance(value, np.ndarray | np.generic)}
  nodes |= {name: value for name, value in changes.items() if isinstance(value, onnx.NodeProto)}
  for name, node in nodes.items():
    node.name = name
  made = helper.make_graph(
    [node for name, node in nodes.items() if changes.get(name, node) is not None],
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
    [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
  )
  return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)])


def test_the_graph_of_the_other_tests_is_clean():
  assert lint(graph()) == []


def node(kind, inputs, outputs, **more):
  return helper.make_node(kind, inputs, outputs, **more)


FAULTS = {
  "unsigned activations": (dict(z=np.uint8(0)), "quantise", "zero point of uint8"),
  "a zero point": (dict(z=np.int8(3)), "quantise", "not zero"),
  "a zero point of one column": (dict(wz=np.array([0, 1, 0], np.int8)), "weight", "not zero"),
  "no zero point": (dict(quantise=node("QuantizeLinear", ["x", "s"], ["xq"])), "quantise", "uint8"),
  "a scale of zero": (dict(s=np.float32(0)), "quantise", "not positive and finite"),
  "a scale that is no number": (
    dict(ws=np.array([0.1, np.nan, 0.1], np.float32)),
    "weight",
    "not positive and finite",
  ),
  "a scale that is computed": (
    dict(quantise=node("QuantizeLinear", ["x", "x", "z"], ["xq"])),
    "quantise",
    "not constant",
  ),
  "a scale for each element": (dict(ws=np.ones((4, 3), np.float32)), "weight", "of 2 axes"),
  "more scales than zero points": (dict(wz=np.zeros(2, np.int8)), "weight", "3 scales and 2 zero points"),
  "integers that go on": (
    dict(dequantise=node("Cast", ["xq"], ["xd"], to=1)),
    "quantise",
    "followed by Cast",
  ),
  "one side alone": (
    dict(product=node("MatMul", ["x", "wd"], ["y0"])),
    "product",
    "multiplies a dequantised input by one that is not",
  ),
  "operator format": (
    dict(product=node("MatMulInteger", ["xq", "w"], ["y0"])),
    "product",
    "MatMulInteger is in operator format",
  ),
  "ranges as it goes": (
    dict(quantise=node("DynamicQuantizeLinear", ["x"], ["xq", "s1", "z1"])),
    "quantise",
    "DynamicQuantizeLinear is in operator format",
  ),
  "a domain of its own": (
    dict(add=node("FusedAdd", ["y0", "bias"], ["y"], domain="com.microsoft")),
    "add",
    "com.microsoft",
  ),
  "the wrong axis": (
    dict(
      weight=node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
      ws=np.ones(4, np.float32),
      wz=np.zeros(4, np.int8),
    ),
    "weight",
    "outputs of MatMul lie along axis 1",
  ),
  "the wrong axis of a turned weight": (
    dict(product=node("Gemm", ["xd", "wd"], ["y0"], transB=1), w=np.ones((3, 3), np.int8)),
    "weight",
    "outputs of Gemm lie along axis 0",
  ),
  "an axis of another length": (dict(w=np.ones((4, 5), np.int8)), "weight", "3 scales along axis 1"),
  "an int32 constant": (dict(w=np.ones((4, 3), np.int32)), "weight", "int32 constant"),
  "unsigned weights": (dict(w=np.ones((4, 3), np.uint8)), "weight", "constant of uint8"),
  "integers from nowhere": (
    dict(quantise=node("Cast", ["x"], ["xq"], to=TensorProto.INT8)),
    "dequantise",
    "what no QuantizeLinear has made",
  ),
  "an activation channel by channel": (
    dict(s=np.ones(4, np.float32), z=np.zeros(4, np.int8)),
    "dequantise",
    "of an activation",
  ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_at_its_node(fault):
  changes, name, what = FAULTS[fault]
  assert any(found.node == name and what in found.what for found in lint(graph(**changes))), lint(
    graph(**changes)
  )


def test_a_fault_inside_a_loop_is_found():
  inner = graph(z=np.uint8(0)).graph
  outer = graph()
  outer.graph.node.append(helper.make_node("If", ["c"], ["u"], then_branch=inner, else_branch=graph().graph))
  assert {found.node for found in lint(outer)} >= {"quantise"}


def test_weights_that_the_graph_quantises_itself_are_clean():
  there = helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=1, name="there")
  changed = graph(
    w=np.ones((4, 3), np.float32), weight=node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=1)
  )
  changed.graph.node.insert(0, there)
  assert lint(changed) == []
