"""A traced function evaluated equation by equation: what export and its quantised twin have in common.

`evaluate` calls a function that has been traced (a jaxpr), with calls inside it opened up. What follows from weights
alone is worked out at once, so that a capture holds constants and no arithmetic on them. Rules stand in for single
primitives and for named calls; `site` for every product of an activation with a constant matrix, which is what is
quantised. A site is named by the path of its weights, such as "pair_0/time/attention/q".
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Paths = frozenset[str]
Rule = Callable[..., list]  # of nothing: let it stand
# (x [..., K], weight_KxN, name) -> y [..., N]
Site = Callable[[jax.Array, np.ndarray, str], jax.Array]

# Primitives that call a jaxpr, and the parameter that holds it.
_CALLS = {
  "jit": "jaxpr",
  "closed_call": "call_jaxpr",
  "custom_jvp_call": "call_jaxpr",
  "custom_vjp_call": "call_jaxpr",
  "checkpoint": "jaxpr",
}

CONSTANT = "constant"  # the site of a matrix that no weight is in
UNROLLED = 64  # the longest loop that is written out step by step


def product(x: jax.Array, weight_KxN: np.ndarray, name: str) -> jax.Array:
  """The site of a model that is not quantised."""
  del name
  return jnp.matmul(x, jnp.asarray(weight_KxN))


@dataclasses.dataclass(frozen=True)
class Traced:
  """jaxpr: of function(weights, *inputs). weights: its constants, each with the path it is known by."""

  jaxpr: Any
  weights: tuple[tuple[Any, Paths], ...]


def trace(function: Callable, weights: Any, inputs: tuple) -> Traced:
  """Args: weights: pytree of arrays. inputs: arrays, for their shapes."""
  leaves, _ = jax.tree.flatten_with_path(weights)
  named = tuple((leaf, frozenset([path_name(path)])) for path, leaf in leaves)
  return Traced(jax.make_jaxpr(function)(weights, *inputs), named)


def evaluate(traced: Traced, inputs: tuple, rules: Mapping[str, Rule], site: Site = product) -> list:
  """Leaves of what was traced, of other inputs: arrays, or tracers of an enclosing transformation.

  Args: rules: name of a primitive, or of a jitted call as of `called`, -> (values, params) -> values.
  """
  seen: dict[str, int] = {}

  def named(x: jax.Array, weight_KxN: np.ndarray, paths: Paths) -> jax.Array:
    name = "+".join(sorted(paths)) or CONSTANT
    seen[name] = seen.get(name, 0) + 1
    return site(x, weight_KxN, name if seen[name] == 1 else f"{name}#{seen[name]}")

  constants = [(value, frozenset[str]()) for value in traced.jaxpr.consts]
  arguments = [*traced.weights, *((value, None) for value in inputs)]
  return [value for value, _ in _run(traced.jaxpr.jaxpr, constants, arguments, rules, named)]


def path_name(path: tuple) -> str:
  """A key path of a pytree as one word, "pair_0/time/attention/q"."""
  return "/".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


def named_leaves(weights: Any) -> dict[str, Any]:
  """Every weight of a pytree by its path."""
  return {path_name(path): leaf for path, leaf in jax.tree.flatten_with_path(weights)[0]}


def _run(jaxpr, constants: list, arguments: list, rules: Mapping[str, Rule], site: Callable) -> list:
  """Outputs of a jaxpr. Every value carries the paths of the weights it is made of; None: it depends on inputs."""
  values: dict[Any, tuple[Any, Paths | None]] = dict(zip(jaxpr.constvars, constants, strict=True))
  values |= dict(zip(jaxpr.invars, arguments, strict=True))

  def read(atom) -> tuple[Any, Paths | None]:
    return (atom.val, frozenset()) if hasattr(atom, "val") else values[atom]

  for equation in jaxpr.eqns:
    pairs = [read(atom) for atom in equation.invars]
    outs: list[tuple[Any, Paths | None]]
    name, params = equation.primitive.name, equation.params
    ins = [value for value, _ in pairs]
    paths = [own for _, own in pairs if own is not None]
    if len(paths) == len(pairs):
      learned = any(isinstance(value, jax.core.Tracer) for value in ins)  # weights that are differentiated
      with contextlib.nullcontext() if learned else jax.ensure_compile_time_eval():
        outs = [(value, frozenset().union(*paths)) for value in _bind(equation, ins)]
    elif written := _ruled(rules, called(params) if name == "jit" else name, ins, params):
      outs = [(value, None) for value in written]
    elif name in _CALLS:
      inner = params[_CALLS[name]]
      constants = [(value, frozenset[str]()) for value in getattr(inner, "consts", ())]
      outs = _run(getattr(inner, "jaxpr", inner), constants, pairs, rules, site)
    elif name == "scan" and params["length"] <= UNROLLED:
      outs = _unrolled(pairs, equation.outvars, params, rules, site)
    elif name == "dot_general":
      outs = [(_product(pairs, params["dimension_numbers"], site), None)]
    else:
      outs = [(value, None) for value in _bind(equation, ins)]
    values |= dict(zip(equation.outvars, outs, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def called(params: Mapping[str, Any]) -> str:
  """What a jitted call is one of, by file and name, "models/layers.gelu": others of that name are not meant."""
  told = params["jaxpr"].jaxpr.debug_info.func_src_info or ""
  file = pathlib.PurePath(told.rpartition(" at ")[2].rpartition(":")[0])
  return f"{'/'.join(file.with_suffix('').parts[-2:])}.{params['name']}"


def _ruled(rules: Mapping[str, Rule], name: str, ins: list, params: Mapping[str, Any]) -> list:
  rule = rules.get(name)
  return [] if rule is None else rule(ins, params)


def _unrolled(
  pairs: list, outvars: list, params: Mapping[str, Any], rules: Mapping[str, Rule], site: Callable
) -> list:
  """The outputs of a scan, step after step."""
  inner, length = params["jaxpr"], params["length"]
  # What is cut into steps has an axis more outside; carries are the other outputs; constants come first.
  cut = sum(
    jnp.ndim(value) > var.aval.ndim for (value, _), var in zip(pairs, inner.jaxpr.invars, strict=True)
  )
  carries = len(inner.jaxpr.outvars) - sum(
    outer.aval.ndim > var.aval.ndim for outer, var in zip(outvars, inner.jaxpr.outvars, strict=True)
  )
  first = len(pairs) - cut - carries
  fixed, carry, rows = pairs[:first], pairs[first : first + carries], pairs[first + carries :]
  constants = [(value, frozenset[str]()) for value in inner.consts]
  made = []
  for step in reversed(range(length)) if params["reverse"] else range(length):
    own = [(value[step], paths) for value, paths in rows]
    outs = _run(inner.jaxpr, constants, [*fixed, *carry, *own], rules, site)
    carry = outs[:carries]
    made.append(outs[carries:])
  if params["reverse"]:
    made.reverse()
  stacked = []
  for column in zip(*made, strict=True):
    known = [paths for _, paths in column if paths is not None]
    paths = frozenset().union(*known) if len(known) == len(column) else None
    stacked.append((jnp.stack([value for value, _ in column]), paths))
  return [*carry, *stacked]


def _bind(equation, ins: list) -> list:
  out = equation.primitive.bind(*ins, **equation.primitive.get_bind_params(equation.params))
  return list(out) if equation.primitive.multiple_results else [out]


def _product(pairs: list, dimensions: tuple, site: Callable) -> jax.Array:
  """A dot product as a matrix product: with a constant of two axes through `site`, else batched and plain."""
  (x, x_paths), (y, y_paths) = pairs
  (x_sum, y_sum), (x_batch, y_batch) = dimensions
  if x_paths is not None and y_paths is None and not x_batch:  # the constant first: turned round
    turned = _product([(y, None), (x, x_paths)], ((y_sum, x_sum), (y_batch, x_batch)), site)
    own = y.ndim - len(y_sum)
    return jnp.transpose(turned, (*range(own, turned.ndim), *range(own)))
  x_free = [axis for axis in range(x.ndim) if axis not in (*x_sum, *x_batch)]
  y_free = [axis for axis in range(y.ndim) if axis not in (*y_sum, *y_batch)]
  batch = [x.shape[axis] for axis in x_batch]
  rows, columns = [x.shape[axis] for axis in x_free], [y.shape[axis] for axis in y_free]
  k = int(np.prod([x.shape[axis] for axis in x_sum], dtype=int))
  left = _shaped(_turned(x, (*x_batch, *x_free, *x_sum)), (*batch, *rows, k))
  if y_paths is not None and not batch:
    constant = y if isinstance(y, jax.core.Tracer) else np.asarray(y)
    weight_KxN = constant.transpose(*y_sum, *y_free).reshape(k, -1)
    return _shaped(site(left, weight_KxN, y_paths), (*rows, *columns))
  left = _shaped(left, (*batch, int(np.prod(rows, dtype=int)), k))
  right = _shaped(_turned(y, (*y_batch, *y_sum, *y_free)), (*batch, k, int(np.prod(columns, dtype=int))))
  return _shaped(jnp.matmul(left, right), (*batch, *rows, *columns))


def _turned(x, axes: tuple[int, ...]):
  return x if axes == tuple(range(x.ndim)) else jnp.transpose(x, axes)


def _shaped(x, shape: tuple[int, ...]):
  return x if x.shape == shape else jnp.reshape(x, shape)
