"""Outliers of activations moved into weights before export, the function unchanged.

A channel k of an activation x that only products with weights W read may be divided by any s_k > 0 where it is made, if
row k of every such W is multiplied by it. With

  s_k = max |x_k|^alpha / max |W_k|^(1 - alpha), rounded to a power of two,

channels that dwarf the others no longer set the range of all, and weights take up what they lose. Powers of two leave
every product and sum as it was, to the last bit. G. Xiao et al., "SmoothQuant", arXiv:2211.10438.

Where channels are made: in the scale of a normalisation, in the columns of a product that only linear steps follow
(values, which attention averages), or outside: an input of features of all sizes is divided as it comes in. Who reads
them is found by trial: what is divided there arrives divided at its readers, and the function with both changed answers
as before, or the place is left alone.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from export.canonical import RMS_NORM, RULES
from export.exportable import Exportable
from export.interpreter import evaluate, named_leaves, path_name, product, trace
from export.judge import distance

ALPHA = 0.5
INPUT = "input "  # before the name of an input, among the paths of weights
UNCHANGED = 1e-5  # relative L2 between the function before and after
STEEPEST = 8  # powers of two between channels: more is a channel that calibration has hardly seen
Record = dict[str, np.ndarray]
# A weight and its adjacent axes, first to last, that run over the channels together.
Leaf = tuple[str, int, int]


@dataclasses.dataclass(frozen=True)
class Move:
  """divided: weights whose channels are divided by `scale` [K]. multiplied: those whose rows make up for it."""

  divided: tuple[Leaf, ...]
  multiplied: tuple[Leaf, ...]
  scale: tuple[float, ...]

  @staticmethod
  def from_json(value: dict[str, Any]) -> "Move":
    divided, multiplied = (tuple(map(tuple, value[name])) for name in ("divided", "multiplied"))
    return Move(divided, multiplied, tuple(value["scale"]))


def smoothed(exported: Exportable, moves: Sequence[Move]) -> Exportable:
  """The same function of other weights; of inputs, too, where those are divided.

  Raises ValueError when an input that is to be divided is none of the function's.
  """
  factors = _factors(moves)
  absent = {name for name in factors if name.startswith(INPUT)} - {INPUT + name for name in exported.inputs}
  if absent:
    raise ValueError(f"there is no {', '.join(sorted(absent))} to divide")
  weights = scaled_weights(exported.weights, moves)
  if not any(INPUT + name in factors for name in exported.inputs):
    return dataclasses.replace(exported, weights=weights)

  def function(weights: Any, *arrays: jax.Array) -> dict[str, jax.Array]:
    scaled = []
    for name, array in zip(exported.inputs, arrays, strict=True):
      for _, _, factor_K in factors.get(INPUT + name, ()):
        array = array * factor_K.reshape((1,) * (array.ndim - 1) + (-1,))
      scaled.append(array)
    return exported.function(weights, *scaled)

  return Exportable(function, weights, exported.example)


def scaled_weights(weights: Any, moves: Sequence[Move]) -> Any:
  """A pytree of weights after the moves."""
  factors = _factors(moves)

  def scaled(path, leaf):
    for first, last, factor_K in factors.get(path_name(path), ()):
      shape = (1,) * first + leaf.shape[first : last + 1] + (1,) * (leaf.ndim - last - 1)
      leaf = leaf * factor_K.reshape(shape)
    return leaf

  return jax.tree.map_with_path(scaled, weights)


def _factors(moves: Sequence[Move]) -> dict[str, list[tuple[int, int, np.ndarray]]]:
  """{weight or input: [(first axis, last axis, factor_K)]}."""
  factors: dict[str, list[tuple[int, int, np.ndarray]]] = {}
  for move in moves:
    scale_K = np.asarray(move.scale, np.float32)
    for leaves, factor_K in ((move.divided, 1 / scale_K), (move.multiplied, scale_K)):
      for path, first, last in leaves:
        factors.setdefault(path, []).append((first, last, factor_K))
  return factors


def plan(exported: Exportable, records: Sequence[Record], inputs: bool, alpha: float = ALPHA) -> list[Move]:
  """What to move: by the greatest activations over `records`, which must be of the exported shapes.

  inputs: whether they may be divided, too.
  """
  probe = _Probe(exported, records[0])
  seen = [probe.answer({}, record) for record in records]
  greatest = {name: np.max([own[name] for own in seen], axis=0) for name in seen[0]}
  tried = [records[i] for i in _awake(seen)]
  if not all(x_K.any() for x_K in greatest.values()):
    tried.append(probe.noise())  # a sensor that no record has
  moves = []
  for move, readers in probe.movable(tried, inputs):
    x_K = np.max([greatest[name] for name in readers], axis=0)
    w_K = np.max([np.abs(probe.weights[name]).max(1) for name in readers], axis=0)
    alive = (x_K > 0) & (w_K > 0)
    if not alive.any():
      continue
    power_K = np.zeros(len(x_K))
    power_K[alive] = alpha * np.log2(x_K[alive]) - (1 - alpha) * np.log2(w_K[alive])
    power_K[alive] -= np.median(power_K[alive])  # a common factor changes nothing
    scale_K = np.exp2(np.clip(np.round(power_K), -STEEPEST, STEEPEST))
    if (scale_K != 1).any():
      moves.append(dataclasses.replace(move, scale=tuple(map(float, scale_K))))
  return moves


class _Probe:
  """A function whose normalisations and sites can have their channels divided, to see where that arrives.

  weights: {site: weight_KxN}. made: {place: number of its channels}, places by the path of a norm's scale, by the name
  of a site or of an input.
  """

  def __init__(self, exported: Exportable, record: Record):
    self.exported = exported
    self.weights: dict[str, np.ndarray] = {}
    self.made: dict[str, int] = {}
    self._leaves = named_leaves(exported.weights)
    traced = trace(exported.function, exported.weights, tuple(exported.example.values()))
    paths = {id(leaf): path for path, leaf in self._leaves.items()}

    def run(divisors: dict[str, jax.Array], *inputs: jax.Array) -> dict[str, jax.Array]:
      found = {}

      def divided(y, name: str):
        self.made[name] = y.shape[-1]
        return y / divisors[name].reshape((1,) * (y.ndim - 1) + (-1,)) if name in divisors else y

      def norm(values, params):
        outs = RULES[RMS_NORM](values, params)
        path = paths.get(id(values[1]))
        return [divided(outs[0], path)] if path else outs

      def site(x, weight_KxN, name):
        self.weights[name] = weight_KxN
        found[name] = jnp.abs(x).max(range(x.ndim - 1))
        return divided(product(x, weight_KxN, name), name)

      inputs = tuple(
        divided(x, INPUT + name) if jnp.issubdtype(x.dtype, jnp.floating) and x.ndim else x
        for name, x in zip(exported.inputs, inputs, strict=True)
      )
      evaluate(traced, inputs, {**RULES, RMS_NORM: norm}, site)
      return found

    jax.eval_shape(run, {}, *self._arrays(record))
    rows = {len(weight_KxN) for weight_KxN in self.weights.values()}
    self.made = {place: channels for place, channels in self.made.items() if channels in rows}
    self._run = jax.jit(run)
    self._plain = jax.jit(exported.function)

  def movable(self, records: Sequence[Record], inputs: bool):
    """(move of scale two or a half, its readers' sites) of every place that the function allows it at.

    Args: records: to try it on, every site awake in one of them at least.
    """
    rng = np.random.default_rng(0)
    before = [self.answer({}, record) for record in records]
    expected = [self._plain(self.exported.weights, *self._arrays(record)) for record in records]
    for place, channels in self.made.items():
      if place.startswith(INPUT) and not inputs:
        continue
      scale_K = rng.choice([0.5, 2.0], channels).astype(np.float32)
      after = [self.answer({place: scale_K}, record) for record in records]
      pairs = {
        name: [(x[name], y[name]) for x, y in zip(before, after, strict=True)] for name in self.weights
      }
      readers = [name for name, own in pairs.items() if _arrived(own, scale_K)]
      own = self._axes(place, self.weights[place].T) if place in self.weights else [(place, 0, 0)]
      rows = [self._axes(name, self.weights[name]) for name in readers]
      if not readers or not own or not all(rows):
        continue
      move = Move(
        tuple(own), tuple(sorted({leaf for leaves in rows for leaf in leaves})), tuple(map(float, scale_K))
      )
      other = smoothed(self.exported, [move])
      call = self._plain if other.function is self.exported.function else jax.jit(other.function)
      if all(
        distance(call(other.weights, *self._arrays(record)), told) < UNCHANGED
        for record, told in zip(records, expected, strict=True)
      ):
        yield move, readers

  def noise(self) -> Record:
    """A record in which everything is there: random numbers, and every flag set."""
    rng = np.random.default_rng(0)
    made = {}
    for name, value in self.exported.example.items():
      if value.dtype == bool:
        made[name] = np.ones_like(value)
      elif np.issubdtype(value.dtype, np.floating):
        made[name] = rng.normal(size=value.shape).astype(value.dtype)
      else:
        made[name] = value
    return made

  def _axes(self, name: str, weight_KxN: np.ndarray) -> list[Leaf]:
    """The weights that a site's matrix is made of, with the axes that run over its rows; []: it cannot be told."""
    paths = name.partition("#")[0].split("+")
    if not set(paths) <= set(self._leaves):
      return []  # a constant, which stays what it is
    found = []
    for path in paths:
      leaf = np.asarray(self._leaves[path])
      runs = [
        (first, last)
        for first in range(leaf.ndim)
        for last in range(first, leaf.ndim)
        if np.prod(leaf.shape[first : last + 1]) == len(weight_KxN)
      ]
      if len(paths) == 1:  # the matrix is the weight turned round, or it is none of ours
        runs = [run for run in runs if _same_rows(leaf, *run, weight_KxN)]
      if not runs:
        return []
      found.append((path, *runs[-1]))
    return found

  def answer(self, divisors: dict[str, np.ndarray], record: Record) -> dict[str, np.ndarray]:
    """{site: greatest |x| [K]} with places divided."""
    whole = {place: divisors.get(place, np.ones(n, np.float32)) for place, n in self.made.items()}
    return {name: np.asarray(x) for name, x in self._run(whole, *self._arrays(record)).items()}

  def _arrays(self, record: Record) -> tuple[np.ndarray, ...]:
    return tuple(record[name] for name in self.exported.inputs)


def _awake(seen: Sequence[dict[str, np.ndarray]]) -> list[int]:
  """Of records by what their sites are like: the first, and those in which a site is awake for the first time."""
  found, awake = [0], {name for name, x_K in seen[0].items() if x_K.any()}
  for i, own in enumerate(seen):
    more = {name for name, x_K in own.items() if x_K.any()} - awake
    if more:
      found.append(i)
      awake |= more
  return found


def _arrived(pairs: Sequence[tuple[np.ndarray, np.ndarray]], scale_K: np.ndarray) -> bool:
  """Of a site before and after, record by record."""
  if pairs[0][0].shape != scale_K.shape or not any(before_K.any() for before_K, _ in pairs):
    return False
  return all(np.allclose(after_K * scale_K, before_K, rtol=1e-5, atol=0) for before_K, after_K in pairs)


def _same_rows(leaf: np.ndarray, first: int, last: int, weight_KxN: np.ndarray) -> bool:
  rows = np.moveaxis(leaf, range(first, last + 1), range(last + 1 - first)).reshape(len(weight_KxN), -1)
  return rows.shape == weight_KxN.shape and np.array_equal(np.sort(rows), np.sort(weight_KxN))
