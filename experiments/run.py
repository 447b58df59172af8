"""The one door to a run directory: train one, or open one that has been trained."""

import contextlib
import dataclasses
import pathlib

import flax.linen as nn
import jax
from jax.sharding import Mesh

from data import datasets
from data.datasets import Dataset
from data.errors import BadInput
from experiments import mesh as meshes
from experiments import pruning, start
from experiments import step as steps
from experiments.allocator import keep_freed_memory
from experiments.checkpoints import Checkpoints
from experiments.config import Train, from_dict
from experiments.loop import train as loop
from experiments.optimizer import make_optimizer
from experiments.preemption import StopSignal
from experiments.processes import Group
from experiments.run_directory import RunDirectory, read_config, read_result
from experiments.setup import make_setup
from experiments.task import Task, make_task
from models.layers import unstacked
from models.pruning import METHODS


@dataclasses.dataclass(frozen=True)
class Run:
  """A finished run: its row, configuration, dataset, task (model, loss) and parameters.

  Losses take `params`; `weights` are what is deployed, and what the model applies (experiments/task.py).
  """

  path: pathlib.Path
  row: dict
  config: Train
  dataset: Dataset
  task: Task
  params: dict

  @property
  def weights(self) -> dict:
    return self.task.weights(self.params)


def train(workdir: str, config: Train, values: dict, group: Group | None = None) -> int:
  """Trains (or resumes) and writes result.json; a finished run of the same config is left as it is.

  Args:
    values: the resolved configuration that `config` was made from.
    group: the processes of the run, when there are several.

  Raises Preempted, Diverged, and BadInput for a bad config, dataset or directory.
  """
  keep_freed_memory()
  with StopSignal() as stop:
    if group:
      group.join()
    setup = make_setup(config, datasets.open_dataset(config.data.dataset))  # before there is a directory
    carried = None
    teacher = getattr(config.loss, "teacher", "")
    kept: dict[str, list[int]] = {}
    if config.start.run:
      base = open_run(config.start.run, mesh=setup.mesh)
      weights = base.weights
      if config.start.other_shapes in METHODS:
        weights, kept = pruning.pruned(base, setup)
      setup, carried = start.starting_from(setup, weights)
    if teacher:
      setup = start.taught_by(setup, open_run(teacher, mesh=setup.mesh).weights)
    with RunDirectory.open(workdir, values, writer=not group or group.process == 0) as directory:
      if directory.result() is not None:
        return 0
      if carried:
        directory.write_start(config.start.run, dataclasses.asdict(carried) | {"kept": kept})
      row = loop(directory, setup, stop)
      run_id = pathlib.Path(workdir).name
      directory.write_result({"run_id": run_id, "config_hash": directory.hash} | row)
  return 0


def open_run(workdir: str, dataset: str = "", mesh: Mesh | None = None) -> Run:
  """Opens a finished run read-only; `dataset` replaces the one it was trained on.

  Its parameters are on this process's first device, or cut over `mesh`, whose processes must all open the run.
  Raises BadInput when it is no run, is not finished, or its last checkpoint is damaged.
  """
  path = pathlib.Path(workdir)
  config = from_dict(read_config(path))
  row = read_result(path)
  if row is None:
    raise BadInput("the run has no result.json yet", path, "let the training command finish")
  opened = datasets.open_dataset(dataset or config.data.dataset)
  task, spec = describe(config, opened, mesh)
  with contextlib.closing(Checkpoints(path, keep=1, read_only=True)) as checkpoints:
    restored = checkpoints.restore_newest(spec)
  if restored is None or restored[0] != row["steps"]:
    what = f"has no good checkpoint of its last step, {row['steps']}"
    raise BadInput(what, path, "put a good copy back, or run the training command in another --workdir")
  return Run(path, row, config, opened, task, restored[1]["params"])


def deployed(run: Run) -> tuple[nn.Module, dict, dict]:
  """(model, weights, one batch of shapes) as a vehicle runs them: layers unrolled, float32, one record at a time."""
  shape = dataclasses.replace(run.config.model, scan=False, remat="none", dtype="float32")
  config = dataclasses.replace(run.config, model=shape)
  model = make_task(config, run.dataset.config, len(run.dataset.domains)).model
  batch = run.task.to_batch(run.dataset.example())
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), batch))["params"]
  return model, unstacked(nn.unbox(run.weights), shapes), batch


def describe(config: Train, dataset: Dataset, mesh: Mesh | None = None) -> tuple[Task, steps.State]:
  """The task of a configuration, and shapes of its state on `mesh`; None: with all of it on the first device.

  What the mesh cannot cut evenly, as it was chosen for another run, is whole on every device.
  """
  task = make_task(config, dataset.config, len(dataset.domains))
  mesh = mesh or meshes.make_mesh(1, 1, 1, 1, jax.local_devices()[:1])
  tx = make_optimizer(config.optimizer, 1, config.model.width)  # its schedule has no state
  example = task.to_batch(dataset.example())
  spec, _ = steps.abstract_state(task, tx, mesh, example, jax.random.key(0))
  return task, jax.tree.map(meshes.whole_unless_even, spec)
