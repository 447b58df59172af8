"""What activations are like at each site, over a calibration set read twice: their ranges, then their histograms."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.errors import BadInput
from export import ranges
from export.canonical import RULES
from export.exportable import Exportable
from export.interpreter import evaluate, product, trace
from export.quantisers import SIGNED, UNSIGNED, affine
from export.recipe import FLOAT, Recipe, Site


def observe(
  exported: Exportable, records: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, tuple[float, float, np.ndarray]]:
  """site -> (least, greatest, counts [ranges.BINS] between them) over all records, of the exported shapes.

  The records are read twice: `records` must be a collection, not an iterator. Raises BadInput for an activation that
  is not finite.
  """
  bounds: dict[str, tuple[float, float]] = {}
  measure = _at_sites(exported, lambda x, name: (x.min(), x.max()))
  for record in records:
    for name, (low, high) in measure(record).items():
      least, greatest = bounds.get(name, (np.inf, -np.inf))
      if not np.isfinite([low, high]).all():
        raise BadInput(
          "is not finite", f"the activation of {name}", "calibrate on records without such numbers"
        )
      bounds[name] = min(least, float(low)), max(greatest, float(high))

  def count(x, name):
    least, greatest = bounds[name]
    width = max((greatest - least) / ranges.BINS, 1e-30)
    index = jnp.clip(jnp.floor((x - least) / width).astype(jnp.int32), 0, ranges.BINS - 1)
    return jnp.bincount(index.reshape(-1), length=ranges.BINS)

  counts: dict[str, np.ndarray] = {}
  measure = _at_sites(exported, count)
  for record in records:
    for name, seen in measure(record).items():
      counts[name] = counts.get(name, 0) + np.asarray(seen, np.int64)
  return {name: (*bounds[name], counts[name]) for name in bounds}


def static_recipe(
  observed: Mapping[str, tuple[float, float, np.ndarray]], method: str, signed: bool, bits: int, notes: dict
) -> Recipe:
  """Every site static: signed and symmetric, as TensorRT wants it, or unsigned, which ONNX Runtime is fast at.

  What was never anything but 0 has no range, and on a grid nothing else would ever pass: such sites stay float, and are
  named under "idle" in the notes.
  """
  grid = SIGNED if signed else UNSIGNED
  sites = {}
  idle = [name for name, (least, greatest, _) in observed.items() if least == greatest == 0]
  for name, (least, greatest, counts) in observed.items():
    if name in idle:
      sites[name] = FLOAT
      continue
    low, high = ranges.choose(method, counts, least, greatest, grid, signed)
    sites[name] = Site(bits, "static", affine(low, high, grid, signed))
  return Recipe(sites, notes | {"method": method, "signed": signed} | ({"idle": idle} if idle else {}))


def fingerprint(records: Iterable[Mapping[str, np.ndarray]]) -> str:
  """SHA-256 of what was calibrated on: names, shapes and numbers, record after record."""
  digest = hashlib.sha256()
  for record in records:
    for name, value in sorted(record.items()):
      digest.update(f"{name} {value.dtype} {value.shape};".encode() + np.ascontiguousarray(value).tobytes())
  return digest.hexdigest()


def _at_sites(exported: Exportable, measure: Callable[[jax.Array, str], Any]) -> Callable:
  """record -> {site: measure(its activation, its name)}."""
  traced = trace(exported.function, exported.weights, tuple(exported.example.values()))

  @jax.jit
  def run(*inputs: jax.Array) -> dict[str, Any]:
    found = {}

    def site(x, weight_KxN, name):
      found[name] = measure(x, name)
      return product(x, weight_KxN, name)

    evaluate(traced, inputs, RULES, site)
    return found

  return lambda record: run(*(record[name] for name in exported.inputs))
