"""A federated run: the loss that is trained centrally, over a fleet of vehicles that hold a dataset's scenes.

The door of federated/ to datasets, tasks and run directories. A run resumes from its last checkpoint and comes out as
if it had never stopped: who takes part in round r, with which records and which noise, depends on r alone.
"""

import contextlib
import dataclasses
import functools
import pathlib
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from data import datasets, reader
from data.datasets import Dataset
from data.errors import BadInput
from experiments import mesh as meshes
from experiments import start
from experiments.checkpoints import Checkpoints
from experiments.config import Train
from experiments.evaluate import evaluate
from experiments.federation_config import Federation, client_rate, make_algorithm, make_codec, parse
from experiments.federation_fleet import make_fleet
from experiments.federation_safety import GoldenSet, Privacy, make_aggregate, make_attack, refuse_leaks
from experiments.preemption import StopSignal
from experiments.program import Preempted
from experiments.progress import Progress
from experiments.run import open_run
from experiments.run_directory import RunDirectory
from experiments.task import Task, make_task
from federated import attacks, compression, drafting, fleet, golden, wire
from federated.rounds import Algorithm, Cohort, client_mesh, make_round, plain
from models.trainable import insert, select


@dataclasses.dataclass(frozen=True)
class Simulation:
  """state: {"server", "memory" and "link" of all vehicles [V, ...], "best": golden scores of what was accepted}.

  advance: (state, data, fixed, draft, rate of clients, key) -> (state, report). fixed: {"params", "golden": records}.
  """

  task: Task
  fleet: fleet.Fleet
  data: dict[str, jax.Array]
  fixed: dict[str, Any]
  state: dict[str, Any]
  advance: typing.Callable
  sent: int  # bytes to a client
  returned: int  # and from it
  privacy: Privacy | None
  golden: GoldenSet | None


def make_simulation(config: Federation, train: Train, dataset: Dataset) -> Simulation:
  """Everything a federated run needs; raises BadInput for what the configuration cannot mean."""
  task = make_task(train, dataset.config, len(dataset.domains))
  if task.after is not None:
    what = f"{train.objective} moves weights without a gradient, which no average of clients knows of"
    raise BadInput(what, "config.train.objective", "choose another objective")
  held_out = (train.data.eval_split, *filter(None, [config.golden.split]))
  refuse_leaks(dataset, train.data.train_split, held_out, config.accept)
  make_aggregate(config.aggregate, config.clients, jax.random.key(0))  # which refuses what cannot be
  private = Privacy(config) if config.privacy.name != "none" else None
  vehicles = make_fleet(config, dataset, train.data.train_split)
  source = reader.RecordSource(dataset, train.data.train_split, task.fields)
  whole = task.to_batch(source.stacked(np.arange(len(source))))
  data = {name: jnp.asarray(value) for name, value in whole.items()}
  example = {name: value[: config.batch] for name, value in whole.items()}
  fresh = jax.jit(lambda key: _unboxed(task.init(key, example)["params"]))(jax.random.key(train.seed))
  params = _begun(fresh, train)
  judged = GoldenSet(config.golden, task, dataset) if config.golden.split else None
  fixed = {"params": params, "golden": judged.records if judged else {}}
  devices = jax.devices()[: config.mesh.clients]
  if len(devices) < config.mesh.clients:
    what = f"{config.mesh.clients} devices are wanted, {len(devices)} are here"
    raise BadInput(what, "config.mesh.clients", "lower it")
  mesh = client_mesh(devices) if len(devices) > 1 else None

  up, down = make_codec(config.up, "config.up"), make_codec(config.down, "config.down")
  transmit = compression.through(up, config.up.feedback) if up else plain

  def build(noise, rate, data, frozen) -> Algorithm:
    def loss_fn(learning, record_B, key):
      return task.loss_fn(
        insert(frozen, learning), {name: value[record_B] for name, value in data.items()}, key
      )

    made = make_algorithm(config.algorithm, loss_fn, rate)
    made = private.keep(made, noise) if private else made
    return compression.down(made, down) if down else made

  learning = select(params, task.trainable)
  algorithm = build(jax.random.key(0), config.algorithm.client_rate, data, params)
  server = algorithm.server_init(learning)

  def of_each(one):
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (vehicles.vehicles, *x.shape)), one)

  memory = of_each(algorithm.memory_init(learning))

  @functools.partial(jax.jit, donate_argnums=0)
  def advance(state, data, fixed, client_C, record, real, weight, rate, key):
    key, common, noise, groups = jax.random.split(key, 4)
    run = make_round(
      functools.partial(build, noise, rate),
      config.lanes,
      config.algorithm.longest,
      config.algorithm.heaviest,
      vehicles.vehicles,
      make_attack(config.attack, transmit, common),
      make_aggregate(config.aggregate, config.clients, groups),
      mesh,
    )
    before = state["memory"], state["link"]
    memory, link = jax.tree.map(lambda x: x[client_C], before)
    server, cohort = state["server"], Cohort(record, real, weight, memory, link)
    best = state["best"]

    def one(server, cohort, key):
      return run(server, cohort, key, data, fixed["params"])

    if judged:
      guarded = judged.guarding(one, fixed)
      (server, best), memory, link, report = guarded(golden.Held(server, best), cohort, key)
    else:
      server, memory, link, report = one(server, cohort, key)
    kept = jax.tree.map(lambda all, own: all.at[client_C].set(own), before, (memory, link))
    return {"server": server, "memory": kept[0], "link": kept[1], "best": best}, report

  shapes = jax.eval_shape(
    lambda: algorithm.client(
      server,
      jax.tree.map(lambda x: x[0], memory),
      jnp.zeros((config.steps, config.batch), jnp.int32),
      jnp.ones(config.steps, bool),
      jax.random.key(0),
    )[0]
  )
  link = of_each(compression.link_init(up, shapes, config.up.feedback)) if up else {}
  if config.attack.name != "none":
    attacker_V = attacks.chosen(vehicles.vehicles, config.attack.share, config.seed)
    link = {"attacker": jnp.asarray(attacker_V), "link": link}
  # A client that follows a compressed way down is sent what it lacks; and what else of the server it reads.
  beside = {name: value for name, value in server.items() if name not in ("opt", "params", "view", "codec")}
  sent = compression.message_shapes(down, learning) if down else learning
  returned = compression.message_shapes(up, shapes) if up else shapes
  best = judged.scores(fixed, learning) if judged else {}
  # Copies: a step gives its state up, and some of these are the same arrays.
  state = jax.tree.map(jnp.copy, {"server": server, "memory": memory, "link": link, "best": best})
  if mesh:
    state, data, fixed = jax.device_put((state, data, fixed), NamedSharding(mesh, PartitionSpec()))
  sizes = wire.size({"params": sent, **beside}), wire.size(returned)
  return Simulation(task, vehicles, data, fixed, state, advance, *sizes, private, judged)


def _begun(fresh: Any, train: Train) -> Any:
  """What a fleet begins with: fresh weights, or those of a finished run where they have the same names."""
  if not train.start.run:
    return fresh
  base = _unboxed(open_run(train.start.run).weights)
  return start.insert(fresh, base, start.compare(fresh, base, train.start.other_shapes))


def _unboxed(params):
  import flax.linen as nn

  return nn.unbox(params)


def simulate(workdir: str, values: dict) -> int:
  """Runs (or resumes) the fleet and writes result.json.

  Raises Preempted, and BadInput for a bad configuration, dataset or directory.
  """
  config, train = parse(values)
  with StopSignal() as stop:
    dataset = datasets.open_dataset(train.data.dataset)
    simulation = make_simulation(config, train, dataset)
    with RunDirectory.open(workdir, values) as directory:
      if directory.result() is not None:
        return 0
      directory.write_provenance(config.seed, [str(d) for d in jax.devices()], dataset.fingerprint)
      with contextlib.closing(Checkpoints(directory.path, keep=2)) as checkpoints:
        row = _rounds(config, train, dataset, simulation, directory, checkpoints, stop)
      directory.write_result({"run_id": pathlib.Path(workdir).name, "config_hash": directory.hash} | row)
  return 0


def _rounds(config, train, dataset, simulation, directory, checkpoints, stop) -> dict[str, Any]:
  """All rounds from the newest checkpoint on, and the row."""
  state, devices = simulation.state, config.mesh.clients
  mesh = meshes.make_mesh(devices, 1, 1, 1, jax.devices()[:devices])
  done, totals = 0, {"uplink_bytes": 0, "downlink_bytes": 0, "simulated_seconds": 0.0, "rejected": 0}
  if simulation.golden:
    totals["refused"] = 0
  restored = checkpoints.restore_newest(jax.tree.map(_shape, state))
  if restored:
    done, state, meta = restored
    totals = meta["totals"]
    directory.supersede(done)
  held_out: dict[str, Any] = {}

  def judge() -> dict[str, Any]:
    params = insert(simulation.fixed["params"], state["server"]["params"])
    return evaluate(simulation.task, dataset, mesh, params, train.data.eval_split)

  with Progress(config.rounds, directory.path.name, done, unit="round") as bar:
    while done < config.rounds:
      drafted = drafting.draft(
        simulation.fleet, done, config.clients, config.steps, config.batch, config.epochs, config.seed
      )
      state, report = simulation.advance(
        state,
        simulation.data,
        simulation.fixed,
        jnp.asarray(drafted.client_C),
        jnp.asarray(drafted.record_CxKxB, jnp.int32),
        jnp.asarray(drafted.real_CxK),
        jnp.asarray(drafted.weight_C),
        jnp.float32(client_rate(config, done)),
        jax.random.fold_in(jax.random.key(config.seed), done),
      )
      done += 1
      reached = drafted.weight_C > 0
      taken = drafting.seconds(simulation.fleet, drafted, simulation.returned, simulation.sent)
      totals = {
        "uplink_bytes": totals["uplink_bytes"] + int(reached.sum()) * simulation.returned,
        "downlink_bytes": totals["downlink_bytes"] + config.clients * simulation.sent,
        "simulated_seconds": totals["simulated_seconds"] + float(taken[reached].max(initial=0.0)),
      } | {name: totals[name] + int(report[name]) for name in ("rejected", "refused") if name in totals}
      total, count = (float(value) for value in report["metrics"]["loss"])
      loss = total / count if count else float("nan")
      record = {"step": done, "clients": int(report["took_part"])} | totals
      if count and not simulation.privacy:  # what clients say of their losses is not private
        record["train_loss"] = loss
      if simulation.golden:
        record["golden_loss"] = float(report["golden_loss"])
      stopping = stop.requested(done)
      if done % config.evaluate_every == 0 or done == config.rounds or stopping:
        if done % config.evaluate_every == 0 or done == config.rounds:
          held_out = judge()
          record["loss"] = held_out["loss"]
        checkpoints.save(done, state, {"totals": totals})
      directory.append_metrics(record)
      bar.update(1, **({} if simulation.privacy else {"loss": loss}))
      if stopping and done < config.rounds:
        checkpoints.wait()
        raise Preempted(f"saved round {done} of {config.rounds}; run the same command to continue")
  checkpoints.wait()
  held_out = held_out or judge()
  privacy = {}
  if promise := simulation.privacy:
    privacy = {"epsilon": promise.epsilon, "delta": config.privacy.delta, "noise": promise.noise}
  return (
    {
      "algorithm": config.algorithm.name,
      "rounds": done,
      "clients": config.clients,
      "vehicles": simulation.fleet.vehicles,
      "params": simulation.task.model.config.non_embedding_params(),
      "loss": held_out["loss"],
      "loss_by_domain": {
        name: held_out["by_slice"][name] for name in dataset.domains if name in held_out["by_slice"]
      },
      "dataset_fingerprint": dataset.fingerprint,
    }
    | privacy
    | totals
  )


def _shape(leaf: jax.Array) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
