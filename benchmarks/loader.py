"""How long the step waits for data: python -m benchmarks.loader --dataset=DIR [--width=W].

Blocks of steps on batches from the reader alternate with blocks on batches already on the device, in one process;
the share of time lost to the loader is 1 - memory / reader, the median over pairs of blocks that follow each other.
Where the cores are shared its floor is the processor time that reading takes, which is given too: for batches read
and put on the device, without steps. Prints one JSON line.
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
_STEPS = flags.DEFINE_integer("steps", 50, "Steps per block.", lower_bound=10)
_BLOCKS = flags.DEFINE_integer("blocks", 12, "Blocks of each kind.", lower_bound=2)


def main() -> int:
  import jax
  import numpy as np

  from data import datasets, mixtures, reader
  from experiments import config as configs
  from experiments import mesh as meshes
  from experiments import step as steps
  from experiments.allocator import keep_freed_memory
  from experiments.configs import motion
  from experiments.optimizer import make_optimizer
  from experiments.task import make_task

  keep_freed_memory()  # as in training
  config = configs.from_dict(motion.get_config(f"w{_WIDTH.value}").to_dict())
  dataset = datasets.open_dataset(_DATASET.value, verify=False)
  task = make_task(config, dataset.config, len(dataset.domains))
  source = reader.RecordSource(dataset, config.data.train_split, task.fields)
  mesh = meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])
  key = jax.device_put(jax.random.key(0), jax.NamedSharding(mesh, jax.P()))
  tx = make_optimizer(config.optimizer, 1000, config.model.width)
  order = mixtures.Natural(np.arange(len(source)), seed=0)
  stream = reader.batches(source, _WINDOWS.value, order, 0, 0, 1, config.data.read_threads)
  ready = [meshes.put_batch(task.to_batch(next(stream)), mesh) for _ in range(8)]
  spec, init = steps.abstract_state(task, tx, mesh, task.to_batch(next(stream)), key)
  step, state = steps.make_step(task, tx, mesh, spec, 1), init(key)
  fresh = (meshes.put_batch(task.to_batch(batch), mesh) for batch in stream)

  def seconds(batches) -> float:
    begun, late = time.perf_counter(), None
    nonlocal state
    for batch in itertools.islice(batches, _STEPS.value):
      state, metrics = step(state, batch, key)
      if late is not None:
        jax.block_until_ready(late)  # one step late, as in the training loop
      late = metrics
    jax.block_until_ready(late)
    return (time.perf_counter() - begun) / _STEPS.value

  def cpu_seconds() -> float:
    begun = time.process_time()
    for batch in itertools.islice(fresh, _STEPS.value):
      jax.block_until_ready(batch)
    return (time.process_time() - begun) / (_STEPS.value * _WINDOWS.value)

  pairs = [(seconds(itertools.cycle(ready)), seconds(fresh)) for _ in range(_BLOCKS.value + 1)][1:]
  reading = [cpu_seconds() for _ in range(_BLOCKS.value)]
  memory, read = (float(np.median(times)) for times in zip(*pairs, strict=True))
  result = {
    "width": config.model.width,
    "windows": _WINDOWS.value,
    "seconds_per_step": {"memory": memory, "reader": read},
    "lost_to_loader": float(np.median([1 - m / r for m, r in pairs])),
    "cpu_us_per_window": 1e6 * float(np.median(reading)),
  }
  print(json.dumps(result))
  return 0


if __name__ == "__main__":
  program.run(main)
