"""How many planted rare events does a vehicle log with a hundredth of the bytes that it drives?

  python -m data.build --source=sumo --scenes_per_domain=14 --steps=120 --seed=5 --fractions=0.64,0.14,0.22 \
    --out=build/sim
  python -m experiments.train --config=experiments/configs/motion.py:w32 --config.data.dataset=build/sim \
    --config.tokens=1000000 --config.seed=1 --workdir=build/w32_1        # and with seed 2: build/w32_2
  python -m data.build --source=sumo --weathers=clear,snow --scenes_per_domain=16 --steps=120 --seed=11 \
    --fractions=0.6,0.12,0.28 --out=build/climates
  python -m benchmarks.curation --runs=build/w32_1,build/w32_2 --driven=build/climates --each=2 --seeds=8 \
    --out=results/curation

Two motion models that have seen other worlds read what a fleet drives. Scores (federated/curation.py) are calibrated on
every other scene as it was driven; into the rest events are planted (benchmarks/planted_events.py). Bytes are those of
records as they are stored. Writes curation.json and curation.svg.
"""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

SPAN, KEPT = 4, 2  # moves of half a second: that a score adds up; that a feature is kept up for
BUDGET = 100  # times fewer bytes
RARE = 0.02  # share of ordinary driving above which a tail is exponential
JOINED = ("along", "across", "surprise", "features")  # of "together"
ROOM = 256  # records that a vehicle has room for


def scorer(runs: list) -> Callable:
  """stacked records -> {score: [N] or, for "features", [N, 2 F]}."""
  import jax
  import jax.numpy as jnp

  from data import context, motion
  from federated import curation

  task, weights, dt = runs[0].task, [run.weights for run in runs], runs[0].dataset.window.dt
  rates = len(motion.ACCELERATIONS), len(motion.YAW_RATES)
  seen = np.r_[context.OWN.start : context.PLACE.start, context.MAP, context.AGENTS]

  @jax.jit
  def measured(batch, weights):
    one, other = (task.model.apply({"params": own}, batch) for own in weights)
    mask, tokens = batch["mask_BxTxA"], batch["tokens_BxTxA"].astype(jnp.int32)
    chance = (jax.nn.softmax(one.astype(jnp.float32)) + jax.nn.softmax(other.astype(jnp.float32))) / 2
    chance = chance[..., : motion.VOCABULARY].reshape(*tokens.shape, *rates)
    faster, turn = jnp.asarray(motion.ACCELERATIONS), jnp.asarray(motion.YAW_RATES)
    features = batch["features_BxTxAxF"].astype(jnp.float32)
    speed = features[..., 0] * 10 * context.SPREAD[0]
    along = faster[tokens // rates[1]] - chance.sum(-1) @ faster
    across = speed * (turn[tokens % rates[1]] - chance.sum(-2) @ turn)
    return {
      "along": curation.unexpected(along * dt, mask, SPAN),
      "across": curation.longest_run(jnp.abs(across) * dt, mask, SPAN),
      "surprise": curation.surprise(one, tokens, mask, SPAN),
      "uncertainty": curation.uncertainty(one, mask, SPAN),
      "disagreement": curation.disagreement(one, other, mask, SPAN),
      "features": curation.sustained(features[..., seen], mask, KEPT),
    }

  def score(stacked: dict) -> dict[str, np.ndarray]:
    count, found = len(stacked["type_A"]), []
    for begin in range(0, count, 64):
      rows = np.minimum(np.arange(begin, begin + 64), count - 1)  # the last ends in copies
      batch = task.to_batch({name: value[rows] for name, value in stacked.items()})
      found.append({name: np.asarray(v)[: count - begin] for name, v in measured(batch, weights).items()})
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

  return score


def tags(stacked: dict, domains: int) -> np.ndarray:
  """bool [N, tags], by rules that need no model: hard braking, sharp turns, which class moves in which domain."""
  from data import motion
  from data.schema import AgentType

  harder, turn = np.divmod(stacked["tokens_TxA"], len(motion.YAW_RATES))
  mask = stacked["mask_TxA"]
  braking = (np.array(motion.ACCELERATIONS)[harder] <= -4.8) & mask
  turning = (np.abs(np.array(motion.YAW_RATES)[turn]) >= 0.8) & mask
  there = stacked["moving_A"] & mask.any(1)
  kinds = np.stack([(there & (stacked["type_A"] == kind)).any(1) for kind in AgentType], 1)
  home = stacked["domain"][:, None] == np.arange(domains)[None]
  where = (kinds[:, :, None] & home[:, None, :]).reshape(len(home), -1)
  return np.concatenate([braking.any((1, 2))[:, None], turning.any((1, 2))[:, None], where], 1)


def calibrate(scores_N: np.ndarray):
  from federated import curation

  spread = np.ptp(scores_N) or 1.0
  low, high = float(scores_N.min() - 0.1 * spread), float(scores_N.max() + 0.1 * spread)
  counts = curation.count(scores_N, low, high)
  cut = curation.quantile(counts, low, high, RARE)
  return curation.tail(counts, low, high, cut, curation.beyond(scores_N, cut))


class Vehicle:
  """What has been counted of ordinary driving, and so what records are worth."""

  def __init__(self, score: Callable, calm: dict, domains: int):

    self.score, self.domains, raw = score, domains, score(calm)
    self.columns = [calibrate(column) for column in raw["features"].T]
    self.counted, self.total = tags(calm, domains).sum(0), len(calm["domain"])
    own = self._scores(raw, calm)
    self.tails = {name: calibrate(own[name]) for name in JOINED}

  def __call__(self, stacked: dict) -> dict[str, np.ndarray]:
    own = self._scores(self.score(stacked), stacked)
    return own | {"together": self._joined(own)}

  def _scores(self, raw: dict, stacked: dict) -> dict[str, np.ndarray]:
    from federated import curation

    rarest = [
      curation.worth(column, known) for column, known in zip(raw["features"].T, self.columns, strict=True)
    ]
    said = curation.rarity(tags(stacked, self.domains), self.counted, self.total)
    return raw | {"features": np.max(rarest, 0), "tags": said}

  def _joined(self, scores: dict) -> np.ndarray:
    from federated import curation

    return np.max([curation.worth(scores[name], self.tails[name]) for name in JOINED], 0)


def recalled(ordinary_N: np.ndarray, planted_M: np.ndarray, shares: np.ndarray) -> np.ndarray:
  """[shares, M] bool: planted records among the highest of all; of equal scores the ordinary ones come first."""
  order = np.lexsort(
    (np.r_[np.ones(len(planted_M)), np.zeros(len(ordinary_N))], -np.r_[planted_M, ordinary_N])
  )
  rank = np.empty(len(order), int)
  rank[order] = np.arange(len(order))
  return rank[None, : len(planted_M)] < np.floor(shares * len(order))[:, None]


def streamed(worth_N: np.ndarray, size: int, rng) -> np.ndarray:
  """bool [N]: what a vehicle sends that drives these records in any order."""
  from federated import curation

  order, shelf = rng.permutation(len(worth_N)), curation.Shelf(1 / BUDGET, ROOM * size)
  for place in order:
    shelf.add(float(worth_N[place]), size)
  sent = np.zeros(len(worth_N), bool)
  sent[order[shelf.send()]] = True
  return sent


def study(runs: list, driven: Any, splits: list[str], kinds: dict, each: int, seeds: int) -> dict[str, Any]:
  from benchmarks import planted_events
  from data import reader, records

  fields = (*runs[0].task.fields, "scene")
  sources = [reader.RecordSource(driven, split, fields) for split in splits]
  whole = [source.stacked(np.arange(len(source))) for source in sources]
  calm_S = [np.unique(one["scene"])[::2] for one in whole]
  calm = [
    {k: v[np.isin(one["scene"], own)] for k, v in one.items()} for one, own in zip(whole, calm_S, strict=True)
  ]
  rest = [
    {k: v[~np.isin(one["scene"], own)] for k, v in one.items()}
    for one, own in zip(whole, calm_S, strict=True)
  ]
  calm, rest = ({k: np.concatenate([one[k] for one in parts]) for k in fields} for parts in (calm, rest))
  scenes = [scene for split in splits for scene in list(driven.scenes(split))[1::2]]
  vehicle = Vehicle(scorer(runs), calm, len(driven.domains))
  ordinary = vehicle(rest)
  size = sum(records.row_dtype(part).itemsize for part in driven.config.parts.values())
  shares = 1 / np.geomspace(5, 1000, 60)
  found: dict[str, Any] = {
    "records": len(rest["domain"]), "record_bytes": size, "calibrated_on": len(calm["domain"]),
    "reduction": (1 / shares).tolist(), "seeds": [],
  }  # fmt: skip
  for seed in range(seeds):
    rng = np.random.default_rng([seed, 9])
    planted = planted_events.windows(kinds, scenes, driven.domains, driven.window, each, rng)
    rare = vehicle({k: np.stack([window[k] for _, window in planted]) for k in fields if k != "scene"})
    kind_M = np.array([kind for kind, _ in planted])
    row: dict[str, Any] = {"planted": len(planted), "curve": {}, "by_kind": {}}
    for name, scores in rare.items():
      row["curve"][name] = recalled(ordinary[name], scores, shares).mean(1).tolist()
      at = recalled(ordinary[name], scores, np.array([1 / BUDGET]))[0]
      row["by_kind"][name] = {kind: float(at[kind_M == kind].mean()) for kind in kinds} | {
        "all": float(at.mean())
      }
    logged = streamed(np.r_[ordinary["together"], rare["together"]], size, rng)
    row["streamed"] = {
      "recall": float(logged[len(rest["domain"]) :].mean()), "reduction": len(logged) / max(1, int(logged.sum())),
    }  # fmt: skip
    found["seeds"].append(row)
  return found


def table(found: dict[str, Any]) -> str:
  """Markdown: recall at the budget by score and kind, mean over seeds, and deviation of the last column."""
  rows = [seed["by_kind"] for seed in found["seeds"]]
  kinds = list(next(iter(rows[0].values())))
  lines = [f"| | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
  for name in rows[0]:
    values = np.array([[row[name][kind] for kind in kinds] for row in rows])
    cells = [f"{value:.0%}" for value in values.mean(0)]
    lines.append(f"| {name} | {' | '.join(cells)} ± {values[:, -1].std(ddof=min(1, len(rows) - 1)):.0%} |")
  return "\n".join(lines)


def draw(found: dict[str, Any], path: pathlib.Path) -> None:
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from scaling.figures import theme

  styles = {
    "together": (theme.BLUE, "-", 2.2), "across": (theme.ORANGE, "-", 1), "along": (theme.ORANGE, "--", 1),
    "features": (theme.PINK, "-", 1), "surprise": (theme.PINK, "--", 1), "disagreement": (theme.SOFT, "-", 1),
    "tags": (theme.SOFT, "--", 1), "uncertainty": (theme.SOFT, ":", 1),
  }  # fmt: skip
  with mpl.rc_context(theme.STYLE):
    figure = Figure(figsize=(theme.WIDTH * 0.85, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for name, (colour, dashes, thick) in styles.items():
      mean = np.mean([seed["curve"][name] for seed in found["seeds"]], 0)
      axes.plot(found["reduction"], mean, color=colour, ls=dashes, lw=thick, label=name)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.axvline(BUDGET, color=theme.RULE, lw=0.8, zorder=0)
    axes.axhline(0.9, color=theme.RULE, lw=0.8, zorder=0)
    axes.set(
      xscale="log", xlabel="bytes driven over bytes logged", ylabel="planted events logged", ylim=(0, 1.02)
    )
    theme.finish(figure, "means over seeds of what is planted where; lines at 100 times and 90 %")
    theme.save_pictures(figure, path, png=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--runs", required=True, help="Two runs of motion models, joined by a comma.")
  parser.add_argument("--driven", required=True, help="Dataset that is driven.")
  parser.add_argument("--splits", default="train,tune,validation")
  parser.add_argument("--kinds", default="all", choices=["known", "new", "all"])
  parser.add_argument("--each", default=4, type=int, help="Events of a kind.")
  parser.add_argument("--seeds", default=5, type=int, help="Of what is planted where.")
  parser.add_argument("--out", required=True, type=pathlib.Path)
  chosen = parser.parse_args()
  from benchmarks import planted_events
  from data.datasets import open_dataset
  from data.files import write_json_atomic
  from experiments.run import open_run

  runs = [open_run(path, chosen.driven) for path in chosen.runs.split(",")]
  kinds = {"known": planted_events.KNOWN, "new": planted_events.NEW, "all": planted_events.KINDS}[
    chosen.kinds
  ]
  driven = open_dataset(chosen.driven)
  found = study(runs, driven, chosen.splits.split(","), kinds, chosen.each, chosen.seeds)
  chosen.out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(chosen.out / "curation.json", found)
  draw(found, chosen.out / "curation")
  print(table(found))
  print(json.dumps([seed["streamed"] for seed in found["seeds"]]))


if __name__ == "__main__":
  main()
