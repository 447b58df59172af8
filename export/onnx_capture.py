"""A function as an ONNX graph, through jax2onnx, with nothing in it that a runtime has to clean up.

The graph has matrix products for every weight, in the order and under the names of the sites of
export/interpreter.py; no arithmetic on constants; no dead initialisers; static shapes.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from data.errors import BadInput
from export.canonical import RULES
from export.exportable import Exportable
from export.interpreter import evaluate, product, trace
from export.quiet import quietly

OPSET = 20  # native Gelu; at 21 and later ONNX Runtime cannot load signed activations on x86
FOUR_BITS = 21  # the first that has weights of 4 bits
OPSETS = range(20, 24)
MERGED = ";"  # between the sites of one product
_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Where")


def capture(exported: Exportable, opset: int = OPSET):
  """An onnx.ModelProto of `exported`; its products with weights are nodes named by their sites.

  Raises BadInput for an opset that is not supported and for an operator without a counterpart in ONNX.
  """
  import jax2onnx
  import onnx
  import onnxsim

  if opset not in OPSETS:
    raise BadInput(f"no opset {opset}", "--opset", f"choose from {OPSETS[0]} to {OPSETS[-1]}")
  sites: list[tuple[str, np.ndarray]] = []

  def note(x, weight_KxN, name):
    sites.append((name, weight_KxN))
    return product(x, weight_KxN, name)

  traced = trace(exported.function, exported.weights, tuple(exported.example.values()))

  def flat(*arrays):
    return tuple(evaluate(traced, arrays, RULES, note))

  specs = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in exported.example.values()]
  names = list(exported.inputs)
  lacking = ""
  with quietly(), _functions_kept():
    try:
      model = jax2onnx.to_onnx(
        flat,
        specs,
        model_name="drivetrain",
        opset=opset,
        input_names=names,
        output_names=list(exported.outputs()),
        normalization_mode="prefer_native",
      )
      model, same = onnxsim.simplify(model)
    except NotImplementedError as error:
      lacking = " ".join(str(error).split())
  if lacking:
    what = f"an operator has no counterpart in ONNX ({lacking})"
    raise BadInput(what, "the model", "write it otherwise, or add a rule to export/canonical.py")
  if not same:
    raise ValueError("the simplified graph answers otherwise than the captured one")
  del model.graph.value_info[:]  # some shapes are from before the graph was simplified
  model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
  _shorten_shapes(model)
  _name_sites(model, sites)
  onnx.checker.check_model(model, full_check=True)
  return model


def _shorten_shapes(model) -> None:
  """Factors [1, ..., 1, D] as [D] and constants of one value as scalars: so runtimes take them into a fusion.

  JAX writes all axes; ONNX needs none that the other operand has. What chooses between the impossible and an answer is
  the same for all times and agents, and kept once. Biases stay as they are: with one of a single axis ONNX Runtime
  makes a Gemm of a product and its sum before it looks for integers, and then finds none.
  """
  import onnx
  from onnx import numpy_helper

  graph = onnx.shape_inference.infer_shapes(model).graph
  told = (*graph.value_info, *graph.input, *graph.output)
  shapes = {one.name: [axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in told}
  held = {one.name: one for one in model.graph.initializer}
  readers: dict[str, list] = {}
  for node in model.graph.node:
    for name in node.input:
      readers.setdefault(name, []).append(node)

  def gives(node) -> bool:
    """Whether an operand that is no constant has the shape of the result."""
    others = [shapes.get(other) for other in node.input if other not in held]
    return node.op_type in _ELEMENTWISE and shapes[node.output[0]] in others

  for name, one in held.items():
    value = numpy_helper.to_array(one)
    if name not in readers or not value.size or not all(gives(node) for node in readers[name]):
      continue
    if np.unique(value).size == 1:  # NaN, too, is one value: what answers where nothing was said
      value = value.flat[0].reshape(())
    elif all(node.op_type in ("Mul", "Where") for node in readers[name]):
      if all(node.op_type == "Where" for node in readers[name]):
        value = _once(value)
      value = value.reshape(value.shape[next(i for i, n in enumerate(value.shape) if n > 1) :])
    one.CopyFrom(numpy_helper.from_array(value, name))


def _once(value: np.ndarray) -> np.ndarray:
  """With axes along which nothing changes of length one."""
  for axis in range(value.ndim):
    first = np.take(value, [0], axis)
    if (value == first).all():
      value = first
  return value


def _name_sites(model, sites: list[tuple[str, np.ndarray]]) -> None:
  """Names every product with a constant by its sites; ValueError when they are not the sites of the function.

  Sites that read the same activation, such as queries, keys and values, have been merged into one product.
  """
  from onnx import numpy_helper

  held = {one.name: one for one in model.graph.initializer}
  nodes = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in held]
  left = list(sites)
  for node in nodes:
    weight_KxN = numpy_helper.to_array(held[node.input[1]])
    found: list[tuple[str, np.ndarray]] = []
    while (start := sum(own.shape[1] for _, own in found)) < weight_KxN.shape[1]:
      place = next((i for i, (_, own) in enumerate(left) if _begins(own, weight_KxN[:, start:])), None)
      if place is None:
        raise ValueError(f"{node.name} multiplies by what is no site's weight")
      found.append(left.pop(place))
    node.name = MERGED.join(name for name, _ in found)
  if left:
    raise ValueError(f"the graph lacks the products {[name for name, _ in left]}")


def _begins(own_KxM: np.ndarray, weight_KxN: np.ndarray) -> bool:
  return own_KxM.shape[0] == len(weight_KxN) and np.array_equal(own_KxM, weight_KxN[:, : own_KxM.shape[1]])


@contextlib.contextmanager
def _functions_kept():
  """Leaves jax.numpy as it was before jax2onnx, which puts functions of its own into it."""
  functions = dict(vars(jnp))
  try:
    yield
  finally:
    vars(jnp).update(functions)
