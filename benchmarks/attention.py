"""What mixing costs as clips grow: python -m benchmarks.attention [--out=attention.csv].

Trunks of one width over growing T and S, for each mixing: FLOPs of a training step as counted, temporary memory as
compiled, processor time as measured; the same of full attention by blocks of queries, and as compiled alone of eight
frames of 128 x 128 cells, a token each. Then the text of the compiled gradient and the processor time it takes to
compile at growing depth, scanned and unrolled; then how far bfloat16 and remat are from float32 that keeps everything,
and what temporary memory they need. One row each.
"""

import csv
import pathlib
import sys
import time

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from experiments import program

_OUT = flags.DEFINE_string("out", "", "CSV file for the rows; none when empty.")
_WIDTH = flags.DEFINE_integer("width", 64, "Width of the trunks.", lower_bound=32)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed steps; the fastest counts.", lower_bound=1)

WINDOWS = ((4, 16), (8, 16), (16, 16), (8, 64), (16, 64))  # T, S
BLOCKS = (64, 256)  # queries at a time
LARGE, LARGE_BLOCKS = (8, 128 * 128), (64, 256, 1024)
DEPTHS = (2, 4, 8, 16)
RECURRENT = {"state_space", "hybrid"}


def main() -> int:
  import dataclasses

  import flax.linen as nn
  import jax
  import jax.numpy as jnp
  import numpy as np

  from models.trunk import Trunk
  from models.trunk_config import UNITS, TrunkConfig

  def trunk(mixing, **changes):
    recurrent = mixing in RECURRENT
    config = TrunkConfig(
      width=_WIDTH.value, layers=2, head_dim=32, mixing=mixing, state=16 * recurrent, chunk=16 * recurrent,
      causal=True, steps=8, space=16, dtype="float32", scan=False, remat="none", block=0, adapter=0, prefix=0,
      heads=0, hidden=0,
    )  # fmt: skip
    return dataclasses.replace(config, **changes)

  def shapes_of(config, x, valid):
    return nn.unbox(jax.eval_shape(Trunk(config).init, jax.random.key(0), x, valid)["params"])

  def gradient_of(config):
    """Of a loss by the weights, and its value."""

    def loss(params, x, valid):
      return (Trunk(config).apply({"params": params}, x, valid)[..., 0] ** 2).mean()

    return jax.jit(jax.value_and_grad(loss))

  def temporary_bytes(config):
    """Of the gradient of a loss, compiled for inputs that nobody makes."""
    shape = (1, config.steps, config.space)
    x, valid = jax.ShapeDtypeStruct((*shape, config.width), jnp.float32), jax.ShapeDtypeStruct(shape, bool)
    compiled = gradient_of(config).lower(shapes_of(config, x, valid), x, valid).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  def prepare(config, seed=0):
    """The gradient of a loss, compiled; its arguments; processor seconds to compile it."""
    shape = (1, config.steps, config.space)
    x, valid = jax.random.normal(jax.random.key(seed), (*shape, config.width)), jnp.ones(shape, bool)
    shapes = shapes_of(config, x, valid)
    draw = np.random.default_rng(seed)
    params = jax.tree.map(lambda p: draw.normal(0, 0.1, p.shape).astype(np.float32), shapes)

    start = time.process_time()
    compiled = gradient_of(config).lower(params, x, valid).compile()
    return compiled, (params, x, valid), time.process_time() - start

  def best_seconds(compiled, arguments):
    seconds = []
    for _ in range(_REPEATS.value + 1):  # the first one warms up
      start = time.process_time()
      jax.block_until_ready(compiled(*arguments))
      seconds.append(time.process_time() - start)
    return min(seconds[1:])

  rows = []

  def report(**row):
    rows.append(row)
    print("  ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in row.items()), flush=True)  # fmt: skip

  for mixing in UNITS:
    for steps, space in WINDOWS:
      config = trunk(mixing, steps=steps, space=space)
      compiled, arguments, _ = prepare(config)
      report(
        what="growth", mixing=mixing, steps=steps, space=space,
        flops=config.flops_per_token() * steps * space,
        temporary_bytes=compiled.memory_analysis().temp_size_in_bytes,
        seconds=best_seconds(compiled, arguments),
      )  # fmt: skip
  for steps, space in WINDOWS[-2:]:
    for block in BLOCKS:
      config = trunk("full", steps=steps, space=space, block=block)
      compiled, arguments, _ = prepare(config)
      report(
        what="blocks", mixing="full", block=block, steps=steps, space=space,
        flops=config.flops_per_token() * steps * space,
        temporary_bytes=compiled.memory_analysis().temp_size_in_bytes,
        seconds=best_seconds(compiled, arguments),
      )  # fmt: skip
  for block in LARGE_BLOCKS:
    steps, space = LARGE
    config = trunk("full", steps=steps, space=space, block=block)
    report(
      what="blocks", mixing="full", block=block, steps=steps, space=space,
      flops=config.flops_per_token() * steps * space, temporary_bytes=temporary_bytes(config),
    )  # fmt: skip
  for scan in (True, False):
    for layers in DEPTHS:
      compiled, _, seconds = prepare(trunk("factorised", layers=layers, scan=scan))
      text = len(compiled.as_text())
      report(what="depth", mixing="factorised", scan=scan, layers=layers, program_bytes=text, seconds=seconds)
  for mixing in UNITS:
    compiled, arguments, _ = prepare(trunk(mixing))
    value, gradient = compiled(*arguments)
    temporary = compiled.memory_analysis().temp_size_in_bytes
    report(
      what="parity", mixing=mixing, variant="float32", loss_error=0.0, worst_gradient_error=0.0,
      temporary_bytes=temporary,
    )  # fmt: skip
    for change in ({"dtype": "bfloat16"}, {"remat": "dots"}, {"remat": "full"}):
      other, *_ = prepare(trunk(mixing, **change))
      found, slope = other(*arguments)
      apart = max(
        float(jnp.abs(a - b).max() / jnp.abs(b).max())
        for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(gradient), strict=True)
      )
      (name,) = change.values()
      temporary = other.memory_analysis().temp_size_in_bytes
      report(
        what="parity", mixing=mixing, variant=name, loss_error=abs(float(found / value) - 1),
        worst_gradient_error=apart, temporary_bytes=temporary,
      )  # fmt: skip
  if _OUT.value:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(_OUT.value, "w", newline="") as file:
      writer = csv.DictWriter(file, names)
      writer.writeheader()
      writer.writerows(rows)
  return program.DONE


if __name__ == "__main__":
  program.run(main)
