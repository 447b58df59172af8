"""The training step against the machine and against plain Flax: python -m benchmarks.train_step [--width=W].

In one process, interleaved: (1) the measured matmul peak in float32 and bfloat16; (2) our step on a one-device
mesh; (3) the same architecture written plainly in Flax (Dense, MultiHeadDotProductAttention, no mesh, no logical
axes), same optimiser; (4) our step in bfloat16. Prints one JSON line. FLOPs are the analytic count.
"""

import json
import pathlib
import sys
import time

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from experiments import program

_WIDTH = flags.DEFINE_integer(
  "width", 48, "Width of the model; the ladder's rule gives the depth.", lower_bound=4
)
_WINDOWS = flags.DEFINE_integer("windows", 4, "Windows per batch.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 30, "Timed steps of each kind.", lower_bound=3)


def main() -> int:
  import dataclasses

  import jax
  import numpy as np

  from benchmarks.plain_motion import PlainMotion
  from data import context
  from experiments import mesh as meshes
  from experiments import step as steps
  from experiments.allocator import keep_freed_memory
  from experiments.config import Optimizer
  from experiments.configs import motion as configs
  from experiments.optimizer import make_optimizer
  from experiments.peak import matmul_peak
  from experiments.task import Task
  from models.motion import MotionModel
  from models.motion_config import MotionConfig
  from objectives import next_token

  keep_freed_memory()  # as in training
  width = _WIDTH.value
  config = MotionConfig(
    width=width, layers=configs.depth(width), head_dim=configs.head_dim(width), factors=(15, 17),
    features=context.FEATURES, steps=16, agents=16, dtype="float32", scan=False, remat="none", adapter=0, prefix=0,
    heads=0, hidden=0,
  )  # fmt: skip
  rng = np.random.default_rng(0)
  shape = (_WINDOWS.value, config.steps, config.agents)
  batch = {
    "tokens_BxTxA": rng.integers(0, config.vocabulary, shape).astype(np.int16),
    "valid_BxTxA": np.ones(shape, bool),
    "mask_BxTxA": np.ones(shape, bool),
    "moving_BxA": np.ones(shape[::2], bool),
    "features_BxTxAxF": rng.normal(size=(*shape, config.features)).astype(np.float16),
    "group_BxA": np.ones(shape[::2], np.uint8),
    "type_BxA": np.zeros(shape[::2], np.uint8),
    "domain_B": np.zeros(shape[0], np.uint8),
  }
  run = configs.get_config("w8")
  optimizer, z_weight = Optimizer(**run.optimizer.to_dict()), run.loss.z_weight
  mesh = meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])
  key = jax.device_put(jax.random.key(0), jax.NamedSharding(mesh, jax.P()))
  placed = meshes.put_batch(batch, mesh)

  def runner(model):
    tx = make_optimizer(optimizer, 1000, width)
    loss_fn = next_token.make_loss(model.apply, z_weight, 1)
    task = Task(model, model.init, loss_fn, loss_fn, (), lambda stacked: stacked)
    spec, init = steps.abstract_state(task, tx, mesh, batch, key)
    step = steps.make_step(task, tx, mesh, spec, 1)
    return [init(key), step]

  def plain_runner():
    model = PlainMotion(config)
    tx = make_optimizer(optimizer, 1000, width)
    loss_fn = next_token.make_loss(model.apply, z_weight, 1)
    params = jax.jit(model.init)(key, batch)["params"]

    @jax.jit
    def step(state, batch, key):
      (loss, _), gradient = jax.value_and_grad(lambda p: _mean(loss_fn(p, batch, key)), has_aux=True)(
        state[0]
      )
      updates, opt = tx.update(gradient, state[1], state[0])
      return (jax.tree.map(lambda p, u: p + u, state[0], updates), opt), {"loss": loss}

    return [(params, tx.init(params)), step]

  kinds = {
    "ours": runner(MotionModel(config)),
    "plain": plain_runner(),
    "ours_bfloat16": runner(MotionModel(dataclasses.replace(config, dtype="bfloat16"))),
  }
  times: dict[str, list[float]] = {name: [] for name in kinds}
  for turn in range(_REPEATS.value + 3):
    for name, kind in kinds.items():
      begun = time.perf_counter()
      kind[0], metrics = kind[1](kind[0], placed, key)
      jax.block_until_ready(metrics)
      if turn >= 3:
        times[name].append(time.perf_counter() - begun)
  median = {name: float(np.median(values)) for name, values in times.items()}
  flops = config.flops_per_token() * int(np.prod(shape))
  peak = {dtype: matmul_peak(dtype) for dtype in ("float32", "bfloat16")}
  print(
    json.dumps(
      {
        "width": width,
        "layers": config.layers,
        "params": config.non_embedding_params(),
        "tokens_per_step": int(np.prod(shape)),
        "seconds": median,
        "peak_gflops": {name: value / 1e9 for name, value in peak.items()},
        "share_of_float32_peak": flops / median["ours"] / peak["float32"],
        "share_of_bfloat16_peak": flops / median["ours_bfloat16"] / peak["bfloat16"],
        "ours_over_plain": median["ours"] / median["plain"],
        "bfloat16_over_float32": median["ours_bfloat16"] / median["ours"],
      }
    )
  )
  return 0


def _mean(metrics):
  total, count = metrics["objective"]
  return total / count, metrics


if __name__ == "__main__":
  program.run(main)
