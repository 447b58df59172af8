"""What the simulator's own drivers get, and what faults that we plant in their drives cost: is the score what it says?

  python benchmarks/log_scores.py --out=results/driving_score [--worlds=2] [--drivers=12] [--seed=7]

Vehicles of simulated worlds of every domain, 10 Hz, up to 15 s, scored as they were driven
(evaluation/driving/log_episodes.py) and again with one fault each, while the recorded traffic does not react:

  late        everything the vehicle did, one second later: from its first pose at its first speed, then its log
  aside       driven 1.5 m to the side where traffic is met (left where one drives on the right)
  straight    from the second second on straight ahead at that moment's speed
  shaking     speed that swings by 1 m/s twice a second

A sub-score is a mean over vehicles where it is defined; intervals are drawn again world by world. Progress is compared
with the vehicle's own log. Prints JSON, and writes it with a figure to --out.
"""

import argparse
import functools
import json
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from evaluation.metrics.driving_score import EPDMS, PDMS, SUB_SCORES, Episode

DT, FRAMES = 0.1, 150
NAMES = (*SUB_SCORES[:-1], "pdms", "epdms")


def logged(episode: Episode, left_hand: bool) -> Episode:
  return episode


def late(episode: Episode, left_hand: bool) -> Episode:
  ego, delay = episode.ego_Tx4, round(1 / DT)
  before = np.repeat(ego[:1], delay, 0)
  back = np.arange(delay, 0, -1)[:, None] * DT * ego[0, 3]
  before[:, :2] -= back * np.array([np.cos(ego[0, 2]), np.sin(ego[0, 2])])
  return episode._replace(ego_Tx4=np.concatenate([before, ego])[: len(ego)])


def aside(episode: Episode, left_hand: bool) -> Episode:
  heading = episode.ego_Tx4[:, 2]
  side = np.stack([-np.sin(heading), np.cos(heading)], -1) * (-1.5 if left_hand else 1.5)
  return episode._replace(ego_Tx4=episode.ego_Tx4 + np.pad(side, ((0, 0), (0, 2))).astype(np.float32))


def straight(episode: Episode, left_hand: bool) -> Episode:
  ego, start = episode.ego_Tx4.copy(), round(1 / DT)
  go = np.arange(len(ego) - start)[:, None] * DT * ego[start, 3]
  ego[start:, :2] = ego[start, :2] + go * np.array([np.cos(ego[start, 2]), np.sin(ego[start, 2])])
  ego[start:, 2:] = ego[start, 2:]
  return episode._replace(ego_Tx4=ego)


def shaking(episode: Episode, left_hand: bool) -> Episode:
  swing = np.sin(2 * np.pi * 2 * DT * np.arange(len(episode.ego_Tx4)))
  ego = episode.ego_Tx4.copy()
  ego[:, 3] = np.maximum(ego[:, 3] + swing, 0)
  return episode._replace(ego_Tx4=ego)


KINDS = (logged, late, aside, straight, shaking)


def measure(worlds: int, drivers: int, seed: int) -> tuple[list[dict], dict]:
  """One row per vehicle and kind: domain, world, sub-scores (NaN: not defined); and what scoring cost."""
  import jax

  from data import sumo
  from evaluation.driving import log_episodes
  from evaluation.metrics import driving_score

  sizes = log_episodes.Sizes(FRAMES, 24, 1024, 256, 8)

  @jax.jit
  @functools.partial(jax.vmap, in_axes=0)
  def score(episodes):
    scores = driving_score.sub_scores(episodes, driving_score.observe(episodes, DT), DT)
    return scores, driving_score.composite(scores, PDMS), scores.value_M

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None))
  def filtered(scores, human):
    return driving_score.composite(driving_score.human_filtered(scores, human), EPDMS)

  rows, spent, frames = [], 0.0, 0
  for world, job in enumerate(sumo.plan(seed, worlds, FRAMES, DT, 0.1)):
    scene = sumo.simulate(job)
    who = log_episodes.drivers(scene, FRAMES // 2)
    for ego in np.random.default_rng(job.seed).permutation(who)[:drivers]:
      episode = log_episodes.episode(scene, int(ego), sizes)
      kinds = [kind(episode, job.traffic_side == "left") for kind in KINDS]
      stacked = jax.tree.map(lambda *parts: np.stack(parts), *kinds)
      if not rows:
        jax.block_until_ready(score(stacked))
      begin = time.process_time()
      scores, pdms, value = jax.tree.map(np.asarray, jax.block_until_ready(score(stacked)))
      spent, frames = spent + time.process_time() - begin, frames + int(episode.frames) * len(KINDS)
      human = jax.tree.map(lambda part: part[0], scores)
      epdms = np.asarray(filtered(scores, human))
      for k, kind in enumerate(KINDS):
        shown = np.where(scores.defined_M[k], value[k], np.nan)[:-1].tolist()
        named = dict(zip(NAMES, [*shown, float(pdms[k]), float(epdms[k])], strict=True))
        rows.append({"domain": job.domain, "world": world, "ego": int(ego), "kind": kind.__name__} | named)
    print(job.domain, job.traffic_side, len(rows) // len(KINDS), file=sys.stderr, flush=True)
  return rows, {"scored_frames_per_cpu_second": round(frames / spent), "cpu_seconds": round(spent, 1)}


def summary(rows: list[dict]) -> dict:
  """Kind to name to mean, interval and number of vehicles; and the logged score by domain."""
  from evaluation import intervals

  def mean(chosen: list[dict], name: str) -> dict | None:
    value = np.array([row[name] for row in chosen], float)
    there = np.isfinite(value)
    if not there.any():
      return None
    draws = intervals.draw_scenes(np.array([row["world"] for row in chosen]), 1000, 0)
    ratio = draws.ratio(np.where(there, value, 0.0), there.astype(float))
    low, high = intervals.interval(ratio) or (None, None)
    return {
      "mean": round(float(value[there].mean()), 4),
      "ci95": [round(low, 4), round(high, 4)],
      "n": int(there.sum()),
    }

  kinds = {kind.__name__: [row for row in rows if row["kind"] == kind.__name__] for kind in KINDS}
  domains = sorted({row["domain"] for row in rows})
  return {
    "by_kind": {kind: {name: mean(chosen, name) for name in NAMES} for kind, chosen in kinds.items()},
    "logged_by_domain": {
      domain: {
        name: mean([row for row in kinds["logged"] if row["domain"] == domain], name) for name in NAMES
      }
      for domain in domains
    },
  }


def draw(found: dict, out: pathlib.Path) -> None:
  """Every sub-score, a mark for each kind of drive."""
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from scaling.figures import theme

  with mpl.rc_context(theme.STYLE):
    figure = Figure(figsize=(theme.WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    colours = (theme.INK, theme.ORANGE, theme.BLUE, theme.PINK, theme.SOFT)
    for k, (kind, mark, colour) in enumerate(zip(KINDS, "os^vD", colours, strict=True)):
      places, means, low, high = [], [], [], []
      for y, name in enumerate(NAMES):
        value = found["by_kind"][kind.__name__][name]
        if value:
          places.append(y + 0.14 * (k - 2))
          means.append(value["mean"])
          low.append(max(value["mean"] - value["ci95"][0], 0))
          high.append(max(value["ci95"][1] - value["mean"], 0))
      look = {"color": colour, "markersize": 4, "linewidth": 0, "elinewidth": 0.8}
      axes.errorbar(means, places, xerr=[low, high], fmt=mark, label=kind.__name__, **look)
    axes.set_yticks(range(len(NAMES)), [name.replace("_", " ") for name in NAMES])
    axes.invert_yaxis()
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("mean over vehicles, 95 % over worlds")
    axes.grid(axis="x", color=theme.RULE, linewidth=0.5)
    figure.legend(loc="outside upper left", ncols=len(KINDS))
    theme.finish(figure, "recorded traffic does not react")
    theme.save_pictures(figure, out / "log_scores", png=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument(
    "--out", type=pathlib.Path, required=True, help="Directory for log_scores.json and figure."
  )
  parser.add_argument("--worlds", type=int, default=2, help="Worlds of each domain.")
  parser.add_argument("--drivers", type=int, default=12, help="Vehicles of a world.")
  parser.add_argument("--seed", type=int, default=7, help="Of the worlds.")
  asked = parser.parse_args()
  asked.out.mkdir(parents=True, exist_ok=True)
  rows, cost = measure(asked.worlds, asked.drivers, asked.seed)
  found = (
    {"vehicles": len(rows) // len(KINDS), "worlds": len({row["world"] for row in rows})}
    | cost
    | summary(rows)
  )
  (asked.out / "log_scores.json").write_text(json.dumps(found, indent=1) + "\n")
  draw(found, asked.out)
  print(json.dumps(found))


if __name__ == "__main__":
  main()
