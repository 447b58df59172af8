"""What simulators that we know get for realism, by horizon: what a number of evaluation/metrics/realism.py is worth.

  python benchmarks/realism_baselines.py --out=results/realism [--worlds=2] [--rollouts=16] [--seed=7]

Simulated worlds of every domain, 10 Hz; up to 24 motor vehicles that are there for 8 s. Four simulators, each with
that many rollouts of all of them:

  near the log   every vehicle follows its logged path at the logged speed times 1 + e, e ~ N(0, 0.05)
  constant       straight on at the first speed times 1 + e
  standing       nobody moves
  shuffled       the paths of `near the log`, speeds those of another vehicle of the scene, drawn anew in each rollout

Means over worlds with intervals, worlds drawn again. Prints JSON, and writes it to --out.
"""

import argparse
import functools
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

DT, FRAMES, AGENTS, SEGMENTS = 0.1, 81, 24, 3000
HORIZONS = (1, 2, 4, 8)  # s
SPREAD = 0.05
_AROUND = 80.0  # m about the logged positions at which a lane still matters


def follow(log_TxAx3: np.ndarray, arc_TxA: np.ndarray) -> np.ndarray:
  """Every agent's own logged path, at arc lengths [T, A]; beyond its end straight on."""
  step = np.hypot(*np.moveaxis(np.diff(log_TxAx3[..., :2], axis=0), -1, 0))
  logged = (
    np.concatenate([np.zeros((1, step.shape[1])), step.cumsum(0)]) + 1e-6 * np.arange(len(arc_TxA))[:, None]
  )
  found = np.empty_like(log_TxAx3)
  for a in range(log_TxAx3.shape[1]):
    columns = (*log_TxAx3[:, a, :2].T, np.unwrap(log_TxAx3[:, a, 2]))
    x, y, heading = (np.interp(arc_TxA[:, a], logged[:, a], column) for column in columns)
    beyond = np.maximum(arc_TxA[:, a] - logged[-1, a], 0)
    found[:, a] = np.stack([x + beyond * np.cos(heading), y + beyond * np.sin(heading), heading], -1)
  return found


def simulate(
  log_TxAx3: np.ndarray, velocity_Ax2: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
  """One rollout of each simulator, [T, A, 3]."""
  steps, agents, _ = log_TxAx3.shape
  moved = np.hypot(*np.moveaxis(np.diff(log_TxAx3[..., :2], axis=0), -1, 0))
  arc = np.concatenate([np.zeros((1, agents)), moved.cumsum(0)])
  faster = rng.normal(1, SPREAD, agents)
  still = np.repeat(log_TxAx3[:1], steps, 0)
  straight = still.copy()
  straight[..., :2] += DT * np.arange(steps)[:, None, None] * (velocity_Ax2 * faster[:, None])[None]
  return {
    "near the log": follow(log_TxAx3, arc * faster),
    "constant": straight,
    "standing": still,
    "shuffled": follow(log_TxAx3, (arc * faster)[:, rng.permutation(agents)]),
  }


def measure(worlds: int, rollouts: int, seed: int) -> list[dict]:
  """One row per world, simulator and horizon: realism and the likelihood of every feature."""
  import jax

  from data import sumo
  from data.schema import AgentType
  from evaluation.metrics import realism, road

  @functools.partial(jax.jit, static_argnums=0)
  def score(frames, states, log, size, valid, ground, keep):
    def seen(state):
      return realism.behaviour(state[:frames], size, valid[:frames], ground, None, DT)

    return realism.realism(realism.log_likelihoods(jax.lax.map(seen, states), seen(log), keep))

  rows = []
  for world, job in enumerate(sumo.plan(seed, worlds, FRAMES, DT, 0.1)):
    scene = sumo.simulate(job)
    motor = np.isin(scene.type_A, (AgentType.CAR, AgentType.TRUCK, AgentType.BUS, AgentType.SERVICE))
    chosen = np.flatnonzero(scene.valid_TxA.all(0) & motor)[:AGENTS]
    keep = np.arange(AGENTS) < len(chosen)
    column = np.concatenate([chosen, np.full(AGENTS - len(chosen), chosen[0])])
    position = scene.position_TxAx2[:, chosen]
    log = np.concatenate([position, scene.heading_TxA[:, chosen, None]], -1).astype(np.float64)
    rng = np.random.default_rng(job.seed)
    made = [simulate(log, scene.velocity_TxAx2[0, chosen].astype(np.float64), rng) for _ in range(rollouts)]
    spare = ((0, 0), (0, AGENTS - len(chosen)), (0, 0))
    low, high = position.min((0, 1)) - _AROUND, position.max((0, 1)) + _AROUND
    ground = road.make_road(scene.lanes, SEGMENTS, low, high)
    valid = np.broadcast_to(keep, (FRAMES, AGENTS))
    given = np.pad(log, spare).astype(np.float32), scene.size_Ax2[column], valid, ground, keep
    for name in made[0]:
      states = np.stack([np.pad(one[name], spare) for one in made]).astype(np.float32)
      for horizon in HORIZONS:
        by_feature, whole = jax.tree.map(np.asarray, score(round(horizon / DT) + 1, states, *given))
        row = {"domain": job.domain, "world": world, "simulator": name, "horizon_s": horizon}
        rows.append(
          row | {"realism": float(whole)} | {key: float(value) for key, value in by_feature.items()}
        )
    print(job.domain, int(keep.sum()), file=sys.stderr, flush=True)
  return rows


def summary(rows: list[dict]) -> dict:
  """Simulator to horizon to feature to mean over worlds; realism with its interval."""
  from evaluation import intervals

  found: dict = {}
  for name in dict.fromkeys(row["simulator"] for row in rows):
    for horizon in HORIZONS:
      chosen = [row for row in rows if row["simulator"] == name and row["horizon_s"] == horizon]
      names = [key for key, value in chosen[0].items() if isinstance(value, float) and np.isfinite(value)]
      means = {key: round(float(np.mean([row[key] for row in chosen])), 4) for key in names}
      draws = intervals.draw_scenes(np.array([row["world"] for row in chosen]), 1000, 0)
      value = np.array([row["realism"] for row in chosen])
      ci = intervals.interval(draws.ratio(value, np.ones(len(value))))
      found.setdefault(name, {})[f"{horizon} s"] = means | {
        "realism_ci95": [round(one, 4) for one in ci or []]
      }
  return found


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, required=True, help="Directory for realism.json.")
  parser.add_argument("--worlds", type=int, default=2, help="Worlds of each domain.")
  parser.add_argument("--rollouts", type=int, default=16, help="Rollouts of each simulator.")
  parser.add_argument("--seed", type=int, default=7, help="Of the worlds.")
  asked = parser.parse_args()
  asked.out.mkdir(parents=True, exist_ok=True)
  rows = measure(asked.worlds, asked.rollouts, asked.seed)
  found = {"worlds": len({row["world"] for row in rows}), "simulators": summary(rows)}
  (asked.out / "realism.json").write_text(json.dumps(found, indent=1) + "\n")
  print(json.dumps(found))


if __name__ == "__main__":
  main()
