"""What TensorRT asks of an INT8 graph with explicit quantisation, looked up in its structure, for want of TensorRT.

From the documentation of IQuantizeLayer, IDequantizeLayer and explicit quantisation (NVIDIA, TensorRT developer guide).
A graph without findings may still be refused by a real build; one with findings will be.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from export.tensors import graphs

OPERATOR_FORMAT = frozenset(
  ("QLinearMatMul", "QLinearConv", "QLinearAdd", "MatMulInteger", "ConvInteger", "DynamicQuantizeLinear")
)
# Products, and the axis of their weights along which outputs lie.
PRODUCTS = {"MatMul": 1, "Gemm": 1, "Conv": 0}


class Finding(NamedTuple):
  """node: its name. what: the rule it breaks."""

  node: str
  what: str


def lint(model) -> list[Finding]:
  """Findings of an onnx.ModelProto, in the order of its nodes; empty for a graph that breaks no rule."""
  from onnx import numpy_helper

  held = {one.name: one for graph in graphs(model.graph) for one in graph.initializer}
  nodes = [node for graph in graphs(model.graph) for node in graph.node]
  made_by = {name: node for node in nodes for name in node.output}
  read_by: dict[str, list] = {}
  for node in nodes:
    for name in node.input:
      read_by.setdefault(name, []).append(node)
  outputs = {out.name for out in model.graph.output}
  found = []
  for node in nodes:
    broken: list[str] = []
    if node.domain not in ("", "ai.onnx"):
      broken.append(f"is of the domain {node.domain}, which is not ONNX")
    if node.op_type in OPERATOR_FORMAT:
      broken.append(f"{node.op_type} is in operator format: QuantizeLinear and DequantizeLinear are read")
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
      constants = {
        i: numpy_helper.to_array(held[name]) for i, name in enumerate(node.input) if i and name in held
      }
      broken += _numbers(node, constants)
    if node.op_type == "QuantizeLinear":
      broken += _is_undone(node, read_by, outputs)
    if node.op_type == "DequantizeLinear":
      broken += _undoes(node, held, made_by, read_by)
    if node.op_type in PRODUCTS:
      sides = [name in made_by and made_by[name].op_type == "DequantizeLinear" for name in node.input[:2]]
      if any(sides) and not all(sides):
        broken.append("multiplies a dequantised input by one that is not")
    found += [Finding(node.name or node.output[0], what) for what in broken]
  return found


def _numbers(node, constants: dict[int, np.ndarray]) -> Iterator[str]:
  """Scale and zero point."""
  scale, zero = constants.get(1), constants.get(2)
  if scale is None:
    yield "has a scale that is not constant"
  elif not (np.isfinite(scale).all() and (scale > 0).all()):
    yield "has a scale that is not positive and finite"
  elif scale.ndim > 1:
    yield f"has a scale of {scale.ndim} axes, neither one number nor one for each channel"
  if len(node.input) > 2 and zero is None:
    yield "has a zero point that is not constant"
  elif zero is None:
    if node.op_type == "QuantizeLinear":
      yield "has no zero point, and so makes uint8: int8 is read"
  elif zero.dtype != np.int8:
    yield f"has a zero point of {zero.dtype}: int8 is read"
  elif zero.any():
    yield "has a zero point that is not zero"
  if scale is not None and zero is not None and scale.shape != zero.shape:
    yield f"has {math.prod(scale.shape)} scales and {math.prod(zero.shape)} zero points"


def _is_undone(node, read_by: dict[str, list], outputs: set[str]) -> Iterator[str]:
  readers = read_by.get(node.output[0], [])
  strange = [one.op_type for one in readers if one.op_type != "DequantizeLinear"]
  if strange or not readers or node.output[0] in outputs:
    yield f"is followed by {strange[0] if strange else 'nothing'}, not by DequantizeLinear"


def _undoes(node, held: dict, made_by: dict, read_by: dict[str, list]) -> Iterator[str]:
  """What a DequantizeLinear reads: the integers of a constant, or what a QuantizeLinear has made."""
  from onnx import TensorProto

  source = node.input[0]
  if source in held:
    kind = held[source].data_type
    if kind == TensorProto.INT32:
      yield "dequantises an int32 constant: biases are float"
    elif kind != TensorProto.INT8:
      yield f"dequantises a constant of {TensorProto.DataType.Name(kind).lower()}: int8 is read"
  elif source not in made_by or made_by[source].op_type != "QuantizeLinear":
    yield "dequantises what no QuantizeLinear has made"
  if len(held[node.input[1]].dims if node.input[1] in held else ()) != 1:
    return
  axis = next((own.i for own in node.attribute if own.name == "axis"), 1)
  shape = list(held[source].dims) if source in held else _shape_of_float(node, held, made_by)
  if shape and len(shape) > 1:
    if not -len(shape) <= axis < len(shape) or held[node.input[1]].dims[0] != shape[axis]:
      yield f"has {held[node.input[1]].dims[0]} scales along axis {axis} of a constant of shape {shape}"
    for reader in read_by.get(node.output[0], []):
      wanted = _channel(reader)
      if reader.op_type in PRODUCTS and reader.input[1] == node.output[0] and axis % len(shape) != wanted:
        yield f"has its scales along axis {axis}; outputs of {reader.op_type} lie along axis {wanted}"
  elif source not in held:
    yield "has a scale for each channel of an activation: one number is read"


def _shape_of_float(node, held: dict, made_by: dict) -> list[int]:
  """Of a float constant that is quantised and dequantised in the graph; empty: it is none."""
  before = made_by.get(node.input[0])
  name = before.input[0] if before is not None else ""
  return list(held[name].dims) if name in held else []


def _channel(reader) -> int:
  turned = reader.op_type == "Gemm" and any(own.name == "transB" and own.i for own in reader.attribute)
  return 0 if turned else PRODUCTS.get(reader.op_type, 0)
