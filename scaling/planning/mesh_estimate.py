"""What a mesh would cost before anything is compiled: bytes per chip, FLOPs, HBM and network traffic, in closed form.

Exact for what goes into the step (parameters, moments, batch). For the rest a sketch of a decoder trained in
mixed precision: good enough to put meshes in order, so that the compiler is asked about the promising ones only.

Notation, per chip: n positions of a micro-batch; D width, L layers, V rows; w bytes of the compute dtype;
f, t, s sizes of the mesh axes fsdp, tensor, sequence; 12 D^2 weights per layer, cut in f t.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np

from models.motion_config import MotionConfig
from scaling import counting
from scaling.planning import roofline
from scaling.planning.program_cost import Collective
from scaling.planning.slices import Slice

AXES = ("data", "fsdp", "tensor", "sequence")
Sizes = dict[str, int]


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One array of the step. `cuts`: for each axis of `shape`, the mesh axes that split it; `part` of the step: "state"
  (parameters, moments) or "batch" (one micro-batch)."""

  name: str
  part: str
  shape: tuple[int, ...]
  itemsize: int
  cuts: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Attributes: `state`, `total` bytes per chip; `bound` the roofline of the sketch."""

  state: int
  total: float
  bound: roofline.Bound


def meshes(chips: int, leaves: Iterable[Leaf]) -> tuple[list[Sizes], str]:
  """Every mesh of so many chips that cuts all arrays evenly, and the name of what most often stands in the way."""
  leaves = list({(leaf.shape, leaf.cuts): leaf for leaf in leaves}.values())
  found, blame = [], dict[str, int]()
  for sizes in _factorisations(chips):
    wrong = next((leaf for leaf in leaves if not divides(leaf, sizes)), None)
    if wrong is None:
      found.append(sizes)
    else:
      name = f"{wrong.name} of shape {list(wrong.shape)}"
      blame[name] = blame.get(name, 0) + 1
  return found, max(blame, key=lambda name: blame[name]) if blame else ""


def _factorisations(chips: int) -> Iterator[Sizes]:
  divisors = [n for n in range(1, chips + 1) if chips % n == 0]
  for three in itertools.product(divisors, repeat=3):
    rest, left = divmod(chips, math.prod(three))
    if not left and rest:
      yield dict(zip(AXES, (rest, *three), strict=True))


def divides(leaf: Leaf, sizes: Sizes) -> bool:
  return all(
    length % math.prod(sizes[axis] for axis in axes) == 0
    for length, axes in zip(leaf.shape, leaf.cuts, strict=True)
  )


def shard_bytes(leaf: Leaf, sizes: Sizes) -> int:
  """Bytes of a leaf on one chip."""
  return (
    leaf.itemsize * math.prod(leaf.shape) // math.prod(sizes[axis] for axes in leaf.cuts for axis in axes)
  )


def estimate(
  config: MotionConfig, leaves: Iterable[Leaf], positions: int, accumulate: int, sizes: Sizes, slice_: Slice,
  coordinates_NxK: np.ndarray,
) -> Estimate:  # fmt: skip
  """Args: positions: of a step on all chips; accumulate: micro-batches it is cut into."""
  counted = counting.count(config)
  rows = sizes["data"] * sizes["fsdp"] * sizes["sequence"]
  n, d, t = positions / rows / accumulate, config.width, sizes["tensor"]
  w = 2 if config.dtype == "bfloat16" else 4
  weights = 12 * d**2 * w / t  # of a layer, gathered
  state = sum(shard_bytes(leaf, sizes) for leaf in leaves)
  params = sum(shard_bytes(leaf, sizes) for leaf in leaves if leaf.name.startswith("['params']"))

  # Gradients in float32, what the backward pass keeps of each layer, one layer at work, the logits.
  kept = {"full": 2 * d, "dots": 2 * d + w * d * (7 / t + 2), "none": 14 * d + 60 * d / t}[config.remat]
  work = n * (6 * 4 * d + 2 * (w + 4) * 4 * d / t) + 4 * weights
  total = state + params + config.layers * n * kept + work + 3 * 4 * n * config.rows / t

  flops = (counted.flops_per_token + counted.recomputed) * positions / slice_.chips
  passes = 4 if config.remat == "full" else 3
  steps = config.layers * accumulate
  # Activations in and out of memory per pass, and again for those that are kept: fitted to compiled programs.
  hbm = 8 * params + steps * ((passes + 3) * weights + n * (passes * d * (51 + 52 / t) + 5 * kept))
  hbm += accumulate * 6 * 4 * n * config.rows / t
  network = roofline.network_seconds(
    slice_, coordinates_NxK, _collectives(config, sizes, n, w, weights, steps, passes)
  )
  model = counted.flops_per_token * positions
  return Estimate(state, total, roofline.bound(slice_, model, flops, hbm, network))


def _collectives(
  config: MotionConfig, sizes: Sizes, n: float, w: int, weights: float, steps: int, passes: int
) -> tuple[Collective, ...]:
  """What the rules of the mesh cost: weights gathered twice and gradients scattered along fsdp, gradients summed over
  data and sequence, activations summed over tensor, keys and values gathered along sequence."""
  chips = np.arange(math.prod(sizes.values())).reshape([sizes[axis] for axis in AXES])

  def group(*axes: str) -> tuple[int, ...]:
    return tuple(chips[tuple(slice(None) if axis in axes else 0 for axis in AXES)].reshape(-1).tolist())

  d, t, f = config.width, sizes["tensor"], sizes["fsdp"]
  # A shard that is thinner than a tile of 8 rows is not gathered or scattered, but summed with everybody's zeros.
  gather = ("all-gather", weights / f) if d / f >= 8 else ("all-reduce", weights)
  scatter = ("reduce-scatter" if d / f > 8 else "all-reduce", weights)
  wanted = [
    (gather[0], 2 * steps, gather[1], ("fsdp",)),
    (scatter[0], steps, scatter[1], ("fsdp",)),
    ("all-reduce", steps, weights / f, ("data", "sequence")),
    ("all-reduce", steps * (passes + 1), n * d * 1.5 * w, ("tensor",)),  # some of them in float32
    ("all-gather", steps * passes / 2, 2 * n * d * w / t, ("sequence",)),
  ]
  found = [Collective(kind, times, size, group(*axes)) for kind, times, size, axes in wanted]
  return tuple(one for one in found if len(one.group) > 1)
