"""How long the step waits for data: python -m benchmarks.loader --dataset=DIR [--width=W].

Blocks of steps on batches from the reader alternate with blocks on batches already in memory, in one process; the
share of time lost to the loader is 1 - memory / reader. Prints one JSON line.
"""

import itertools
import json
import time

from absl import flags

from experiments import program

_DATASET = flags.DEFINE_string("dataset", None, "Directory made by data.build.", required=True)
_WIDTH = flags.DEFINE_integer(
  "width", 32, "Width of the model; the ladder's rule gives the depth.", lower_bound=4
)
_WINDOWS = flags.DEFINE_integer("windows", 2, "Windows per batch.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 100, "Steps per block.", lower_bound=10)
_BLOCKS = flags.DEFINE_integer("blocks", 6, "Blocks of each kind.", lower_bound=2)


def main() -> int:
  import jax
  import numpy as np

  from data import datasets, reader
  from experiments import config as configs
  from experiments import mesh as meshes
  from experiments import step as steps
  from experiments.configs import motion
  from experiments.optimizer import make_optimizer
  from experiments.task import FIELDS, make_task

  config = configs.from_dict(motion.get_config(f"w{_WIDTH.value}").to_dict())
  dataset = datasets.open_dataset(_DATASET.value, verify=False)
  source = reader.WindowSource(dataset, config.data.train_split, FIELDS)
  task = make_task(config, dataset.window.steps, dataset.window.agents, len(dataset.domains))
  mesh = meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])
  key = jax.device_put(jax.random.key(0), jax.NamedSharding(mesh, jax.P()))
  tx = make_optimizer(config.optimizer, 1000, config.model.width)
  stream = reader.batches(source, _WINDOWS.value, 0, 0, 0, 1, config.data.read_threads)
  ready = [meshes.put_batch(task.to_batch(next(stream)), mesh) for _ in range(8)]
  spec, init = steps.abstract_state(task.model.init, tx, mesh, task.to_batch(next(stream)), key)
  step, state = steps.make_step(task.loss_fn, tx, mesh, spec, 1), init(key)
  kinds = {
    "reader": (meshes.put_batch(task.to_batch(batch), mesh) for batch in stream),
    "memory": itertools.cycle(ready),
  }
  times: dict[str, list[float]] = {name: [] for name in kinds}
  for block in range(_BLOCKS.value + 1):
    for name, batches in kinds.items():
      begun, late = time.perf_counter(), None
      for batch in itertools.islice(batches, _STEPS.value):
        state, metrics = step(state, batch, key)
        if late is not None:
          jax.block_until_ready(late)  # one step late, as in the training loop
        late = metrics
      jax.block_until_ready(late)
      if block:
        times[name].append(time.perf_counter() - begun)
  median = {name: float(np.median(values)) / _STEPS.value for name, values in times.items()}
  lost = 1 - median["memory"] / median["reader"]
  print(json.dumps({"width": config.model.width, "seconds_per_step": median, "lost_to_loader": lost}))
  return 0


if __name__ == "__main__":
  program.run(main)
