"""A recipe written into an ONNX graph as QuantizeLinear and DequantizeLinear, which every runtime understands.

An activation becomes integers and back before its product; a weight is stored as integers and read through a
DequantizeLinear. Runtimes make one integer product of the two pairs. A dynamic activation is DynamicQuantizeLinear and
MatMulInteger, which belong to ONNX Runtime's side of the world.
"""

import numpy as np

from export.onnx_capture import MERGED
from export.quantisers import Affine, column_scales, weight_integers
from export.recipe import Recipe, Site

_PLAIN = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}  # what a Gemm is by default


def quantised(model, recipe: Recipe):
  """A copy of a captured model with its sites made as the recipe says.

  Raises ValueError for sites that share a product and differ in their bits or activation, for bits that ONNX lacks, and
  for a Gemm that does more than x W + b.
  """
  import onnx
  from onnx import numpy_helper

  copy = onnx.ModelProto()
  copy.CopyFrom(model)
  graph = copy.graph
  held = {one.name: one for one in graph.initializer}
  nodes: list = []
  pairs: dict[tuple[str, Affine], str] = {}
  for node in graph.node:
    sites = (
      {recipe.of(name) for name in node.name.split(MERGED)} if node.op_type in ("MatMul", "Gemm") else set()
    )
    own = _one(sites, node.name)
    if own is not None and own.bits not in (32, 8, 4):
      raise ValueError(f"{node.name} is to have weights of {own.bits} bits, which no file can hold")
    if own is None or own.bits == 32 or len(node.input) < 2 or node.input[1] not in held:
      nodes.append(node)
      continue
    _require_plain(node)
    weight_KxN = numpy_helper.to_array(held[node.input[1]])
    scale_N = column_scales(weight_KxN, own.bits)
    integers = weight_integers(weight_KxN, scale_N, own.bits)
    if own.activation == "dynamic":
      nodes += _dynamic(graph, node, integers, scale_N)
      continue
    if own.at is not None:
      key = node.input[0], own.at
      if key not in pairs:
        pairs[key] = f"{node.input[0]}_{len(pairs)}_back"
        nodes += _there_and_back(graph, node.input[0], pairs[key], own.at)
      node.input[0] = pairs[key]
    nodes.append(_weight(graph, node, integers, scale_N, own.bits))
    nodes.append(node)
  del graph.node[:]
  graph.node.extend(nodes)
  _drop_unused(graph)
  onnx.checker.check_model(copy, full_check=True)
  return copy


def _one(sites: set[Site], name: str) -> Site | None:
  if len({(own.bits, own.activation) for own in sites}) > 1:
    raise ValueError(
      f"{name} is one product, its sites are to be made differently: {sorted(map(str, sites))}"
    )
  own = next(iter(sites), None)
  if own is not None and own.activation == "rows":
    raise ValueError(f"{name} is to be quantised row by row, for which ONNX has no operator")
  return own


def _require_plain(node) -> None:
  """Of a Gemm: that it transposes and scales nothing."""
  told = {own.name: own.f or own.i for own in node.attribute}
  if node.op_type == "Gemm" and any(told.get(name, value) != value for name, value in _PLAIN.items()):
    raise ValueError(f"{node.name} is a Gemm with {told}, not a product and a sum")


def _constant(graph, name: str, value: np.ndarray) -> str:
  from onnx import numpy_helper

  graph.initializer.append(numpy_helper.from_array(value, name))
  return name


def _there_and_back(graph, name: str, back: str, at: Affine) -> list:
  from onnx import helper

  kind = np.int8 if at.grid.low < 0 else np.uint8
  scale = _constant(graph, f"{back}_scale", np.asarray(at.scale, np.float32))
  zero = _constant(graph, f"{back}_zero", np.asarray(at.zero, kind))
  return [
    helper.make_node("QuantizeLinear", [name, scale, zero], [f"{back}_q"], name=f"{back}/quantise"),
    helper.make_node("DequantizeLinear", [f"{back}_q", scale, zero], [back], name=f"{back}/dequantise"),
  ]


def _weight(graph, node, integers: np.ndarray, scale_N: np.ndarray, bits: int):
  from onnx import helper
  from onnx.helper import make_tensor

  stem = node.input[1] + "_" + str(len(graph.initializer))
  if bits == 8:
    whole = _constant(graph, f"{stem}_q", integers)
    zeros = _constant(graph, f"{stem}_zero", np.zeros(len(scale_N), np.int8))
  else:
    import ml_dtypes
    from onnx import TensorProto

    packed = integers.astype(ml_dtypes.int4)
    graph.initializer.append(make_tensor(f"{stem}_q", TensorProto.INT4, packed.shape, packed))
    graph.initializer.append(
      make_tensor(f"{stem}_zero", TensorProto.INT4, scale_N.shape, np.zeros(len(scale_N), ml_dtypes.int4))
    )
    whole, zeros = f"{stem}_q", f"{stem}_zero"
  scales = _constant(graph, f"{stem}_scale", scale_N)
  node.input[1] = f"{stem}_back"
  return helper.make_node(
    "DequantizeLinear", [whole, scales, zeros], [node.input[1]], axis=1, name=f"{node.name}/weight"
  )


def _dynamic(graph, node, integers: np.ndarray, scale_N: np.ndarray) -> list:
  from onnx import TensorProto, helper

  stem, out = f"{node.output[0]}_{len(graph.initializer)}", node.output[0]
  bias = list(node.input[2:])  # of a Gemm
  product = f"{stem}_product" if bias else out
  whole = _constant(graph, f"{stem}_q", integers)
  zero = _constant(graph, f"{stem}_zero", np.asarray(0, np.int8))
  scales = _constant(graph, f"{stem}_scale", scale_N)
  made = [
    helper.make_node("DynamicQuantizeLinear", [node.input[0]], [f"{stem}_{x}" for x in ("x", "s", "z")]),
    helper.make_node("MatMulInteger", [f"{stem}_x", whole, f"{stem}_z", zero], [f"{stem}_sum"]),
    helper.make_node("Cast", [f"{stem}_sum"], [f"{stem}_float"], to=TensorProto.FLOAT),
    helper.make_node("Mul", [f"{stem}_s", scales], [f"{stem}_both"]),
    helper.make_node("Mul", [f"{stem}_float", f"{stem}_both"], [product]),
    *([helper.make_node("Add", [product, *bias], [out])] if bias else []),
  ]
  for one, verb in zip(made, ("quantise", "product", "cast", "scale", "back", "bias"), strict=False):
    one.name = f"{node.name}/{verb}"
  return made


def _drop_unused(graph) -> None:
  read = {name for node in graph.node for name in node.input} | {out.name for out in graph.output}
  kept = [one for one in graph.initializer if one.name in read]
  del graph.initializer[:]
  graph.initializer.extend(kept)
