"""Whether the monitor leaves ordinary drivers alone and takes over from those who do not look; and which cut-ins count.

  python benchmarks/safety_envelope.py --dataset=DIR --out=results/safety_envelope [--split=validation] [--drivers=12]

Vehicles of held-out scenes, up to 15 s each, watched (evaluation/safety/envelope.py) as they were driven, and again
straight on at a constant speed from the second second on, the traffic as it was recorded. Intervals are drawn
again scene by scene. With each set of constants (evaluation/safety/safe_distance.py); and, of every take-over, what the
agent was that endangered the ego and how hard it would have had to brake to become no faster than it before the gap is
gone. Writes safety_envelope.json, and cut_ins.png: cut-ins that are preventable by each model
(evaluation/safety/cut_in.py).
"""

import argparse
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.log_scores import DT, FRAMES, logged, straight

TURNING = 0.03  # rad/s, above which an ego is in a bend
ALONG = np.pi / 6  # rad between headings that are the same way


def measure(dataset: str, split: str, drivers: int) -> dict:
  """Set of constants to kind of drive to rates of all drives, with intervals, and by domain."""
  import jax

  from data.datasets import open_dataset
  from evaluation.driving import log_episodes
  from evaluation.safety import envelope
  from evaluation.safety.safe_distance import SETS

  sizes = log_episodes.Sizes(FRAMES, 24, 1024, 256, 8)

  @jax.jit
  @jax.vmap
  def watched(one):
    seen = {name: envelope.watch(one, DT, by) for name, by in SETS.items()}
    return seen, {name: envelope.tally(each, DT) for name, each in seen.items()}

  rows: dict[str, dict[str, list[dict]]] = {name: {"logged": [], "straight": []} for name in SETS}
  causes: dict[str, list[dict]] = {name: [] for name in SETS}
  for number, scene in enumerate(open_dataset(dataset).scenes(split)):
    who = log_episodes.drivers(scene, FRAMES // 2)
    for ego in np.random.default_rng(number).permutation(who)[:drivers]:
      episode = log_episodes.episode(scene, int(ego), sizes)
      kinds = [kind(episode, False) for kind in (logged, straight)]
      # What the monitor reads alone, so that one shape serves all.
      seen = [one._replace(road=None, lines=None, route_Px2=None) for one in kinds]
      seen, counts = jax.tree.map(np.asarray, watched(jax.tree.map(lambda *parts: np.stack(parts), *seen)))
      for name in SETS:
        for k, drive in enumerate(rows[name]):
          tallied = {key: int(value[k]) for key, value in counts[name].items()}
          rows[name][drive].append(tallied | {"domain": scene.metadata.domain, "scene": number})
        causes[name] += why(episode, seen[name].takes_over_T[0], seen[name].danger_TxA[0])
  return {name: {"causes": shares(causes[name])} | summed(rows[name], list(counts[name])) for name in SETS}


def why(episode, takes_over_T: np.ndarray, danger_TxA: np.ndarray) -> list[dict]:
  """Of every take-over the nearest agent that endangers the ego: which way it goes, whether the ego turns, and the
  steady braking in m/s^2 that would have sufficed at the speeds of the moment."""
  found = []
  for t in np.flatnonzero(takes_over_T):
    ego, others = episode.ego_Tx4[t], episode.agents_TxAx4[t]
    offset = others[:, :2] - ego[:2]
    ahead_A = offset @ [np.cos(ego[2]), np.sin(ego[2])]
    a = np.where(danger_TxA[t], ahead_A, np.inf).argmin()
    turn = abs((others[a, 2] - ego[2] + np.pi) % (2 * np.pi) - np.pi)
    gap = max(ahead_A[a] - 0.5 * (episode.agents_size_Ax2[a, 0] + episode.ego_size_2[0]), 0.1)
    closing = max(ego[3] - others[a, 3] * np.cos(turn), 0.0)
    way = "same way" if turn < ALONG else "oncoming" if turn > np.pi - ALONG else "crossing"
    bends = abs(episode.ego_Tx4[t, 2] - episode.ego_Tx4[max(t - 5, 0), 2]) / (5 * DT) > TURNING
    found.append({"way": way, "bends": bool(bends), "needed": float(closing**2 / (2 * gap))})
  return found


def shares(causes: list[dict]) -> dict:
  """How many there are of each kind, and the median and 90th percentile of the braking that was needed."""
  found = {}
  for way in ("same way", "oncoming", "crossing"):
    own = [one for one in causes if one["way"] == way]
    if own:
      needed = np.quantile([one["needed"] for one in own], [0.5, 0.9]).round(2).tolist()
      found[way] = {"take_overs": len(own), "in_a_bend": sum(one["bends"] for one in own), "needed": needed}
  return found


def summed(rows: dict[str, list[dict]], names: list[str]) -> dict:
  """Kind of drive to rates, intervals and counts."""
  from evaluation import intervals
  from evaluation.safety import envelope

  def total(chosen: list[dict]) -> dict:
    return {key: sum(row[key] for row in chosen) for key in names}

  found = {}
  for drive, chosen in rows.items():
    draws = intervals.draw_scenes(np.array([row["scene"] for row in chosen]), 1000, 0)

    def within(part: str, whole: str, chosen=chosen, draws=draws):
      over, under = (np.array([row[key] for row in chosen], float) for key in (part, whole))
      return intervals.interval(draws.ratio(over, under))

    found[drive] = {
      "rates": envelope.rates(total(chosen)),
      "takes_over_ci95": within("episodes_taken_over", "episodes"),
      "danger_ci95": within("danger", "frames"),
      "counts": total(chosen),
      "by_domain": {
        domain: envelope.rates(total([row for row in chosen if row["domain"] == domain]))
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
  write_json_atomic(given.out / "safety_envelope.json", result)


if __name__ == "__main__":
  main()
