"""Whether the monitor leaves ordinary drivers alone and takes over from those who do not look; and which cut-ins count.

  python benchmarks/envelope.py --dataset=DIR --out=results/safety_envelope [--split=validation] [--drivers=12]

Vehicles of held-out scenes, up to 15 s each, watched (evaluation/safety/envelope.py) as they were driven, and again
straight on at a constant speed from the second second on, the traffic as it was recorded. Intervals are drawn
again scene by scene. Writes envelope.json, and cut_ins.png: cut-ins that are preventable by each model
(evaluation/safety/cut_in.py).
"""

import argparse
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.log_scores import DT, FRAMES, logged, straight


def measure(dataset: str, split: str, drivers: int) -> dict:
  """Kind to rates of all drives, with intervals, and by domain."""
  import jax

  from data.datasets import open_dataset
  from evaluation import intervals
  from evaluation.driving import log_episodes
  from evaluation.safety import envelope
  from evaluation.safety.safe_distance import CAR

  sizes = log_episodes.Sizes(FRAMES, 24, 1024, 256, 8)
  count = jax.jit(jax.vmap(lambda one: envelope.tally(envelope.watch(one, DT, CAR))))
  rows: dict[str, list[dict]] = {"logged": [], "straight": []}
  for number, scene in enumerate(open_dataset(dataset).scenes(split)):
    who = log_episodes.drivers(scene, FRAMES // 2)
    for ego in np.random.default_rng(number).permutation(who)[:drivers]:
      episode = log_episodes.episode(scene, int(ego), sizes)
      kinds = [kind(episode, False) for kind in (logged, straight)]
      # What the monitor reads alone, so that one shape serves all.
      seen = [one._replace(road=None, lines=None, route_Px2=None) for one in kinds]
      counts = jax.tree.map(np.asarray, count(jax.tree.map(lambda *parts: np.stack(parts), *seen)))
      for k, name in enumerate(rows):
        tallied = {key: int(value[k]) for key, value in counts.items()}
        rows[name].append(tallied | {"domain": scene.metadata.domain, "scene": number})

  def summed(chosen: list[dict]) -> dict:
    return {key: sum(row[key] for row in chosen) for key in counts}

  found: dict = {}
  for name, chosen in rows.items():
    draws = intervals.draw_scenes(np.array([row["scene"] for row in chosen]), 1000, 0)

    def within(part: str, whole: str, chosen=chosen, draws=draws):
      over, under = (np.array([row[key] for row in chosen], float) for key in (part, whole))
      return intervals.interval(draws.ratio(over, under))

    found[name] = {
      "rates": envelope.rates(summed(chosen)),
      "takes_over_ci95": within("episodes_taken_over", "episodes"),
      "danger_ci95": within("danger", "frames"),
      "counts": summed(chosen),
      "by_domain": {
        domain: envelope.rates(summed([row for row in chosen if row["domain"] == domain]))
        for domain in sorted({row["domain"] for row in chosen})
      },
    }
  return found


def draw(out: pathlib.Path) -> dict:
  """Gap against closing speed at 30 m/s and 1 m/s sideways; and the preventable share of a grid, by model."""
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from evaluation.safety import cut_in

  closings, gaps = np.linspace(0.5, 25, 99), np.linspace(0.5, 160, 320)
  found = cut_in.preventable(cut_in.grid([30.0], closings, gaps, [1.0]))
  with mpl.rc_context({"font.size": 9}):
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for (name, value), colour in zip(found.items(), ("#1f5fbf", "#e07b00", "#2ca02c"), strict=True):
      # Beyond the widest gap that is not: in narrow ones the ego may pass before the other is over.
      least = [gaps[np.flatnonzero(~row).max(initial=-1) + 1] for row in np.asarray(value)[0, :, :, 0]]
      axes.plot(closings, least, color=colour, label=name, linewidth=2)
    axes.set(xlabel="closing speed, m/s", ylabel="least gap that is preventable, m")
    axes.set_title("Cut-ins at 30 m/s, 1 m/s sideways: preventable above the line", fontsize=9)
    axes.legend(frameon=False)
    figure.savefig(out / "cut_ins.png", dpi=120)
  wide = cut_in.grid([10.0, 20.0, 30.0], [2.0, 5.0, 10.0, 15.0], np.arange(2.0, 80.0, 2.0), [0.5, 1.0, 1.8])
  return {name: float(np.asarray(value).mean()) for name, value in cut_in.preventable(wide).items()}


def main() -> None:
  from data.files import write_json_atomic

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", required=True)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--split", default="validation")
  parser.add_argument("--drivers", type=int, default=12)
  given = parser.parse_args()
  given.out.mkdir(parents=True, exist_ok=True)
  result = {"preventable_share": draw(given.out), **measure(given.dataset, given.split, given.drivers)}
  print(json.dumps(result, indent=1))
  write_json_atomic(given.out / "envelope.json", result)


if __name__ == "__main__":
  main()
