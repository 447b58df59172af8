"""What the cache of the simulator saves: one roll-out with it and without, in turns, in one process.

  python benchmarks/simulation.py [--width=16] [--layers=2] [--scenes=4] [--rounds=5]

Windows of 16 moves (5 observed) and 16 agents on a straight road, 18 steps, random weights, every move drawn. Prints
JSON: processor seconds of the fastest round of each, agent-steps per processor second, the largest difference of a
state in m or its unit, and the share of agents whose course is the same to 1e-5.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  for name, default in (("width", 16), ("layers", 2), ("scenes", 4), ("rounds", 5)):
    parser.add_argument(f"--{name}", type=int, default=default)
  args = parser.parse_args()

  import flax.linen as nn
  import jax
  import jax.numpy as jnp

  from data import context, motion
  from data.windows import WindowConfig
  from evaluation.forecasting import rollout
  from evaluation.forecasting.cases import make_cases
  from evaluation.simulation import simulator
  from experiments.config import from_dict
  from experiments.configs.motion import get_config
  from experiments.task import make_task
  from models.motion import MotionModel
  from models.motion_config import MotionConfig
  from tests.worlds import straight_scene

  how = simulator.Simulation(5, 16, 18, 0.5, temperature=1.0, top_p=1.0, cached=True)
  shape = WindowConfig(dt=0.5, steps=23, agents=16, points=64, stops=2, phases=1, least_moves=4)
  to_batch = make_task(from_dict(get_config("tiny").to_dict()), shape, domains=1).to_batch
  scenes = [straight_scene(117, 16, seed) for seed in range(args.scenes)]
  inputs = rollout.prepare(make_cases(scenes, shape, 2.5, 9.0, 1).windows, to_batch, how.observed)
  config = MotionConfig(
    width=args.width, layers=args.layers, head_dim=8, factors=(len(motion.ACCELERATIONS), len(motion.YAW_RATES)),
    features=context.FEATURES, steps=16, agents=16, dtype="float32", scan=False, remat="none", adapter=0, prefix=0,
    heads=0, hidden=0,
  )  # fmt: skip
  model, rng = MotionModel(config), np.random.default_rng(0)
  shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), inputs["batch"])["params"])
  params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.2, leaf.shape), jnp.float32), shapes)
  free = np.full((how.steps, *inputs["alive"].shape), simulator.FREE)
  kinds = {
    name: simulator.make_simulator(model.apply, dataclasses.replace(how, cached=name == "cached"))
    for name in ("cached", "uncached")
  }

  def roll(name, key):
    return np.asarray(kinds[name](params, inputs, free, jax.random.key(key)))

  pairs = [{name: roll(name, key) for name in kinds} for key in range(2)]  # compiles too
  spent = {name: [] for name in kinds}
  for key in range(args.rounds):
    for name in kinds:
      start = time.process_time()
      roll(name, key)
      spent[name].append(time.process_time() - start)
  alive = np.asarray(inputs["alive"])
  apart = np.concatenate(
    [np.abs(p["cached"] - p["uncached"])[alive].reshape(alive.sum(), -1).max(1) for p in pairs]
  )
  best = {name: min(values) for name, values in spent.items()}
  row = {
    name: {"cpu_s": round(s, 4), "agent_steps_per_s": round(alive.sum() * how.steps / s)}
    for name, s in best.items()
  }
  row |= {"speedup": round(best["uncached"] / best["cached"], 2), "largest_difference": float(apart.max())}
  print(json.dumps(row | {"same": float((apart <= 1e-5).mean())} | vars(args)))


if __name__ == "__main__":
  main()
