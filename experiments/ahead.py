"""The training step of a configuration, compiled for devices that need not be there.

The door for planning: the step, the mesh and the rules are those of `experiments.train`, the state and the batch
are shapes alone. Nothing is allocated, read from a dataset's records, or run.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from data.datasets import open_dataset
from data.errors import BadInput
from data.records import RecordConfig
from data.windows import WindowConfig
from experiments import mesh as meshes
from experiments import step as steps
from experiments.config import Train, from_dict
from experiments.optimizer import make_optimizer
from experiments.task import Task, make_task
from models.motion_config import MotionConfig
from scaling.planning.mesh_estimate import Leaf
from scaling.planning.planner import Compiled, Step, TooLarge

AXES = meshes.AXES
# Of data.build.
WINDOW = WindowConfig(dt=0.5, steps=16, agents=16, points=64, stops=2, phases=1, least_moves=4)
_DOMAINS = 7  # of the simulated worlds; a vector of so many sums is all that depends on it


@dataclasses.dataclass(frozen=True)
class Blueprint:
  """A configuration, ready to be compiled on any mesh: `step` is what planning sees of it."""

  config: Train
  task: Task
  state: Any
  batch: dict[str, jax.ShapeDtypeStruct]
  step: Step


def blueprint(values: dict) -> Blueprint:
  """Shapes and cuts of everything in the step that a resolved configuration means.

  Records are those of its dataset, or of data.build's defaults while that does not exist. Raises BadInput for a
  configuration that cannot be trained.
  """
  config = from_dict(values)
  records: RecordConfig = WINDOW
  if (pathlib.Path(config.data.dataset) / "dataset.json").exists():
    records = open_dataset(config.data.dataset, verify=False).config
  task = make_task(config, records, _DOMAINS)
  accumulate, count = config.optimizer.accumulate, config.data.batch_windows
  if count % accumulate:
    what = f"a batch of {count} windows has no {accumulate} equal micro-batches"
    raise BadInput(what, "config.optimizer.accumulate", "change it, or data.batch_windows")
  one = meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])
  row = task.to_batch({name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in records.spec.items()})
  batch = {name: jax.ShapeDtypeStruct((count, *value.shape[1:]), value.dtype) for name, value in row.items()}
  state, _ = steps.abstract_state(task, _optimizer(config), one, row, jax.random.key(0))
  leaves = [
    _leaf(jax.tree_util.keystr(path), "state", leaf.shape, leaf.dtype, leaf.sharding.spec)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state)
  ]
  for name, spec in batch.items():
    shape = (count // accumulate, *spec.shape[1:])
    leaves.append(_leaf(name, "batch", shape, spec.dtype, meshes.batch_sharding(name, one).spec))
  model = task.model.config
  if not isinstance(model, MotionConfig):
    raise BadInput(f"family is {config.family!r}", "config.family", "choose motion: planning counts no other")
  step = Step(model, leaves, count * model.steps * model.agents, accumulate)
  return Blueprint(config, task, state, batch, step)


def compile_step(plan: Blueprint, sizes: dict[str, int], devices: list, effort: str) -> Compiled:
  """Compiles the step for `devices` in a mesh of `sizes`; raises TooLarge when it cannot fit.

  Args:
    effort: "O1" (less scheduling and prefetching, a fifth of the time) to "O3", or "UNKNOWN": as training does.
      Partitioning, and with it collectives and FLOPs, is the same for all.
  """
  mesh = meshes.make_mesh(**sizes, devices=devices)
  state = jax.tree.map(lambda leaf: _placed(leaf, NamedSharding(mesh, leaf.sharding.spec)), plan.state)
  batch = {name: _placed(spec, meshes.batch_sharding(name, mesh)) for name, spec in plan.batch.items()}
  key = _placed(jax.eval_shape(jax.random.key, 0), NamedSharding(mesh, PartitionSpec()))
  step = steps.make_step(plan.task, _optimizer(plan.config), mesh, state, plan.step.accumulate)
  try:
    lowered = step.lower(state, batch, key)  # type: ignore[attr-defined]
    compiled = lowered.compile(compiler_options={"optimization_level": effort})
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error) or "hbm" not in str(error).lower():  # on-chip memory is no HBM
      raise
    raise TooLarge(str(error)) from None
  memory = compiled.memory_analysis()
  return Compiled(
    compiled.as_text(),
    memory.argument_size_in_bytes,
    memory.output_size_in_bytes - memory.alias_size_in_bytes,
    memory.temp_size_in_bytes,
  )


def _optimizer(config: Train):
  # Of the schedule only its form is compiled.
  return make_optimizer(config.optimizer, 1000, config.model.width)


def _placed(spec, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(spec.shape, spec.dtype, sharding=sharding)


def _leaf(name: str, part: str, shape, dtype, spec: PartitionSpec) -> Leaf:
  named = [(axes,) if isinstance(axes, str) else tuple(axes or ()) for axes in spec]
  cuts = (*named, *[()] * (len(shape) - len(named)))
  return Leaf(name, part, tuple(shape), jnp.dtype(dtype).itemsize, cuts)
