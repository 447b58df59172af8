"""Does a fleet with stragglers learn sooner when nobody waits for them?

  python -m benchmarks.asynchrony --dataset=build/sumo --out=results/asynchrony [--seeds=0,1,2] [--hours=0.5]

Three vehicles of ten compute and send ten times slower. Synchronous rounds (FedAvg) last as long as their slowest
client; buffered asynchronous ones (FedBuff, arXiv:2106.06639) take a server step for every four updates that arrive.
Both have eight vehicles busy at a time, the same optimiser on clients, the same vehicles, and are given the same
simulated hours.
Writes asynchrony.json and asynchrony.svg: held-out loss against the simulated clock.
"""

import argparse
import pathlib
import statistics
from typing import Any

STRAGGLERS, SLOWER = 0.3, 10.0
BUFFER = 4
JUDGED = 256  # held-out windows of a point of the curve


def curve(dataset: str, seed: int, hours: float, way: str) -> list[tuple[float, float, int]]:
  """[(simulated hours, held-out loss, updates)] of one fleet. way: "synchronous" or "asynchronous"."""
  import functools

  import jax
  import jax.numpy as jnp
  import numpy as np

  from data import reader
  from data.datasets import open_dataset
  from experiments import federation
  from experiments.configs import fleet as config_file
  from experiments.federation_config import make_algorithm, parse
  from federated import asynchrony, drafting
  from federated.rounds import Cohort, make_round

  values = config_file.get_config("demo").to_dict()
  values["seed"] = values["train"]["seed"] = seed
  values["train"]["data"]["dataset"] = dataset
  values["fleet"] |= {"spread": 0.0, "reached": 1.0}
  config, train = parse(values)
  opened = open_dataset(dataset)
  made = federation.make_simulation(config, train, opened)
  task, fleet = made.task, made.fleet
  rng = np.random.default_rng([seed, 5])
  slow = rng.random(fleet.vehicles) < STRAGGLERS
  algorithm = make_algorithm(config.algorithm, task.loss_fn, config.algorithm.client_rate)
  source = reader.RecordSource(opened, train.data.eval_split, task.fields, limit=JUDGED)
  held_out = {k: jnp.asarray(v) for k, v in task.to_batch(source.stacked(np.arange(JUDGED))).items()}
  judge = jax.jit(lambda params, batch: task.held_out(params, batch, jax.random.key(0))["loss"])

  def loss(params) -> float:
    total, count = judge(params, held_out)
    return float(total / count)

  @functools.partial(jax.jit, static_argnums=2)
  def batches(data, record, shape):
    return {name: value[record].reshape(*shape, *value.shape[1:]) for name, value in data.items()}

  def drawn(number: int, clients: int):
    return drafting.draft(fleet, number, clients, config.steps, config.batch, config.epochs, config.seed)

  def lasts(drafted) -> np.ndarray:
    plain = drafting.seconds(fleet, drafted, made.returned, made.sent)
    return plain * np.where(slow[drafted.client_C], SLOWER, 1.0)

  server = algorithm.server_init(made.fixed["params"])
  shape = (config.steps, config.batch)
  found, end = [(0.0, loss(server["params"]), 0)], hours * 3600
  if way == "synchronous":
    one = jax.jit(make_round(algorithm, config.lanes, jnp.inf, jnp.inf, fleet.vehicles))
    clock, number = 0.0, 0
    while True:
      drafted = drawn(number, config.clients)
      clock += float(lasts(drafted).max())
      if clock > end:
        return found
      whole = batches(made.data, jnp.asarray(drafted.record_CxKxB), (config.clients, *shape))
      cohort = Cohort(whole, jnp.asarray(drafted.real_CxK), jnp.asarray(drafted.weight_C), {}, {})
      server, _, _, _ = one(server, cohort, jax.random.fold_in(jax.random.key(seed), number))
      number += 1
      found.append((clock / 3600, loss(server["params"]), number * config.clients))

  def take(vehicle: int, turn: int):
    """A turn of one vehicle: its own draft, as if it were alone in a round of its own."""
    alone = drafting.draft(
      _only(fleet, vehicle), turn, 1, config.steps, config.batch, config.epochs, config.seed + vehicle
    )
    return batches(made.data, jnp.asarray(alone.record_CxKxB[0]), shape), jnp.asarray(alone.real_CxK[0])

  def seconds(vehicle: int) -> float:
    own = fleet.records[vehicle]
    steps = min(config.steps, -(-len(own) // config.batch))
    plain = made.sent / fleet.down_V[vehicle] + steps / fleet.steps_per_second_V[vehicle]
    return (plain + made.returned / fleet.up_V[vehicle]) * (SLOWER if slow[vehicle] else 1.0)

  arrivals = asynchrony.buffered(
    algorithm, server, take, seconds, fleet.vehicles, config.clients, BUFFER,
    config.algorithm.longest, config.algorithm.heaviest, rng, jax.random.key(seed),
  )  # fmt: skip
  for arrival in arrivals:
    if arrival.seconds > end:
      return found
    if arrival.stepped and arrival.updates % (2 * BUFFER) == 0:
      found.append((arrival.seconds / 3600, loss(arrival.server["params"]), arrival.updates))
  return found


def _only(fleet: Any, vehicle: int):
  import dataclasses

  return dataclasses.replace(
    fleet, records=(fleet.records[vehicle],), reached_V=fleet.reached_V[vehicle : vehicle + 1]
  )


def sooner(found: dict[str, list]) -> float:
  """Simulated hours that synchronous rounds take for their last loss, over those of the asynchronous ones."""
  target = min(loss for _, loss, _ in found["synchronous"])
  hours = {way: next((h for h, loss, _ in own if loss <= target), float("nan")) for way, own in found.items()}
  return hours["synchronous"] / hours["asynchronous"]


def draw(curves: dict[str, dict[str, list]], path: pathlib.Path) -> None:
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from scaling.figures import theme

  with mpl.rc_context(theme.STYLE):
    figure = Figure(figsize=(theme.WIDTH * 0.7, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for way, colour in (("synchronous", theme.SOFT), ("asynchronous", theme.BLUE)):
      for number, own in enumerate(curves.values()):
        hours, losses, _ = zip(*own[way], strict=True)
        axes.plot(hours[1:], losses[1:], color=colour, lw=1, label=way if not number else None)
    axes.set(xlabel="simulated hours", ylabel="held-out loss (nats per token)")
    axes.legend()
    theme.finish(figure, "a line for each seed; three vehicles of ten are ten times slower")
    theme.save_pictures(figure, path, png=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", required=True)
  parser.add_argument("--out", required=True, type=pathlib.Path)
  parser.add_argument("--seeds", default="0,1,2")
  parser.add_argument("--hours", default=0.5, type=float)
  chosen = parser.parse_args()
  from data.files import write_json_atomic

  curves = {
    seed: {
      way: curve(chosen.dataset, int(seed), chosen.hours, way) for way in ("synchronous", "asynchronous")
    }
    for seed in chosen.seeds.split(",")
  }
  ratios = [sooner(own) for own in curves.values()]
  last = {way: [own[way][-1][1] for own in curves.values()] for way in ("synchronous", "asynchronous")}
  result = {"sooner": ratios, "last_loss": last, "hours": chosen.hours, "curves": curves}
  chosen.out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(chosen.out / "asynchrony.json", result)
  draw(curves, chosen.out / "asynchrony")
  print(f"sooner by {statistics.mean(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})", last)


if __name__ == "__main__":
  main()
