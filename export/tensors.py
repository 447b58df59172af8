"""Where an ONNX file keeps its tensors: in itself, or in files that it names, which must be its own neighbours."""

import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from data.errors import BadInput

LARGEST = 8 << 30  # bytes of a file, or of a tensor, that anybody would put on a vehicle
REMEDY = "export it again with export.build"


def graphs(graph) -> Iterator[Any]:
  """An onnx.GraphProto, or a FunctionProto, and the graphs inside its nodes."""
  yield graph
  for node in graph.node:
    for attribute in node.attribute:
      for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
        yield from graphs(inner)


def check(path: pathlib.Path) -> None:
  """Raises BadInput for a file that is no model, or whose tensors are too large, elsewhere or not there."""
  import onnx
  from google.protobuf.message import DecodeError

  try:
    model = onnx.load(path, load_external_data=False)
  except DecodeError:
    raise BadInput("is no ONNX model", path, REMEDY) from None
  tensors: list[Any] = []
  for graph in (inner for outer in (model.graph, *model.functions) for inner in graphs(outer)):
    sparse = list(getattr(graph, "sparse_initializer", ()))
    tensors += getattr(graph, "initializer", ())
    for attribute in (own for node in graph.node for own in node.attribute):
      tensors += [*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors]
      sparse += [
        *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else ()),
        *attribute.sparse_tensors,
      ]
    tensors += [part for one in sparse for part in (one.values, one.indices)]
  for tensor in tensors:
    _check(path, tensor)


def _check(path: pathlib.Path, tensor) -> None:
  from onnx import TensorProto, helper

  try:
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
  except KeyError:
    raise BadInput(f"holds {tensor.name}, a tensor of no type", path, REMEDY) from None
  # Numbers of 4 bits are packed two to a byte.
  bits = 4 if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4) else 8 * kind.itemsize
  size = math.ceil(math.prod(tensor.dims) * bits / 8)
  if min(tensor.dims, default=1) < 0 or size > LARGEST:
    raise BadInput(f"holds {tensor.name}, a tensor of {size} bytes, more than {LARGEST}", path, REMEDY)
  if tensor.data_location != TensorProto.EXTERNAL:
    return
  given = {entry.key: entry.value for entry in tensor.external_data}
  location = given.get("location", "")
  there = path.parent / location
  if not location or os.path.isabs(location) or not there.resolve().is_relative_to(path.parent.resolve()):
    raise BadInput(f"keeps {tensor.name} at {location!r}, outside its folder", path, REMEDY)
  if there.is_symlink() or not there.is_file():
    raise BadInput(f"keeps {tensor.name} at {location!r}, which is no file", path, REMEDY)
  try:
    offset, length = (int(given.get(key, default)) for key, default in (("offset", 0), ("length", size)))
  except ValueError:
    raise BadInput(f"keeps {tensor.name} at {location!r}, at no number of bytes", path, REMEDY) from None
  if offset < 0 or length != size or offset + length > there.stat().st_size:
    raise BadInput(f"keeps {tensor.name} at {location!r}, which does not hold all of it", path, REMEDY)
