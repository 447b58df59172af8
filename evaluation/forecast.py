"""Forecast errors of a trained run: python -m evaluation.forecast --run=W [--dataset=DIR] --out=DIR.

Rolls the motion model out on held-out scenes, agents answering one another, and compares its forecasts with
constant velocity on the same agents. The single forecast (minADE_1, minFDE_1) is the mean of --mean_of sampled
futures, agent by agent; the K forecasts are the first --samples of them. "likeliest" takes the likeliest move of
every agent instead. Under "joint" the same futures are scored as worlds (evaluation/metrics/joint.py); "top_..." are
those of evaluation/metrics/nuscenes.py, whose best of K is another. Writes OUT/forecast.json, also by domain and with
95 % intervals over scenes.
"""

from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_DATASET = flags.DEFINE_string("dataset", "", "Dataset to forecast on; empty: the one trained on.")
_SPLIT = flags.DEFINE_string("split", "", "Its split; empty: the run's evaluation split.")
_OUT = flags.DEFINE_string("out", None, "Directory for forecast.json.", required=True)
_OBSERVED = flags.DEFINE_float("observed_s", 3.0, "Seconds seen before the forecast.", lower_bound=0.1)
_HORIZON = flags.DEFINE_float("horizon_s", 3.0, "Seconds to forecast.", lower_bound=0.1)
_PIECES = flags.DEFINE_integer(
  "pieces", 0, "Pieces per scene, from its first frame on; 0: all.", lower_bound=0
)
_SAMPLES = flags.DEFINE_integer("samples", 6, "K: sampled futures.", lower_bound=2)
_MEAN_OF = flags.DEFINE_integer("mean_of", 16, "Sampled futures behind the single forecast.", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the samples.")

_LOOKBACK_S = 0.5  # over which the constant velocity is measured
_TOP = 5  # futures that nuScenes judges, at most


def main() -> int:
  from data.files import require_directory, write_json_atomic

  out = require_directory(_OUT.value, "--out") / "forecast.json"
  from evaluation.finite import require_finite
  from evaluation.forecasting.cases import make_cases
  from evaluation.forecasting.rollout import predict
  from experiments import run as runs
  from experiments.progress import Progress

  run = runs.open_run(_RUN.value, _DATASET.value)
  split = _SPLIT.value or run.config.data.eval_split
  cases = make_cases(
    run.dataset.scenes(split), run.dataset.window, _OBSERVED.value, _HORIZON.value, _PIECES.value
  )
  drawn = max(_SAMPLES.value, _MEAN_OF.value)
  with Progress(len(cases.scored_BxA), "roll-outs", unit="window") as bar:
    likeliest, futures = predict(
      run.task.model.apply, run.weights, run.task.to_batch, cases, run.dataset.window.dt, drawn, _SEED.value,
      bar.update,
    )  # fmt: skip
  mean = futures[: _MEAN_OF.value].mean(0, keepdims=True)
  found = report(cases, mean, futures[: _SAMPLES.value], likeliest)
  require_finite(found, run.path)
  result = found | {
    "horizon_s": _HORIZON.value,
    "observed_s": _OBSERVED.value,
    "mean_of": _MEAN_OF.value,
    "run": run.row["run_id"],
    "dataset": str(run.dataset.manifest["notes"].get("source", "")),
    "dataset_fingerprint": run.dataset.fingerprint,
    "split": split,
    "seed": _SEED.value,
  }
  write_json_atomic(out, result)
  print(table(result))
  print(out)
  return 0


def report(cases, single, samples, likeliest) -> dict[str, Any]:
  """forecast.json but for its provenance: errors over all and over moving agents, everywhere and by domain.

  Args: cases: evaluation.forecasting.cases.Cases. single, likeliest: [1, B, A, N, 2] and samples [K, B, A, N, 2], m in
  the scene's frame.
  """
  import jax
  import jax.numpy as jnp
  import numpy as np

  from evaluation.forecasting import baselines
  from evaluation.intervals import of_ratio
  from evaluation.metrics import displacement, nuscenes

  truth, history = jnp.asarray(cases.truth_BxAxNx2), jnp.asarray(cases.history_BxHxAx2)
  scored = jnp.asarray(cases.scored_BxA)
  valid = jnp.broadcast_to(scored[..., None], truth.shape[:3])
  lookback = max(1, round(_LOOKBACK_S / cases.frame_s))
  straight = jax.vmap(lambda h: baselines.constant_velocity(h, lookback, truth.shape[2]))(history)[None]
  moving = jax.vmap(displacement.moving)(history[:, -1], truth, valid)
  errors = jax.jit(jax.vmap(displacement.forecast_errors, (1, 0, 0, 0)))
  top = min(_TOP, len(samples))
  chance = jnp.full((len(samples), truth.shape[1]), 1 / len(samples))
  top_errors = jax.jit(
    jax.vmap(lambda f, t, v, k: nuscenes.top_errors(f, chance, t, v, k, top), (1, 0, 0, 0))
  )

  def sums(forecast, keep):
    pairs = errors(jnp.asarray(forecast), truth, valid, keep)
    return {f"{name}_{len(forecast)}": tuple(map(np.asarray, pair)) for name, pair in pairs.items()}

  domains = {str(name): cases.domain_B == name for name in np.unique(cases.domain_B)}
  result: dict[str, Any] = {
    "left_out": cases.left_out,
    "faults": cases.faults,
    "moving_beyond_m": displacement.MOVING_DISTANCE,
    "by_domain": {name: {} for name in domains},
  }
  for part, keep in (("all", scored), ("moving", moving)):
    own = sums(single, keep) | sums(samples, keep) | top_errors(jnp.asarray(samples), truth, valid, keep)
    others = {"likeliest": sums(likeliest, keep), "constant_velocity": sums(straight, keep)}
    places = [(result, np.ones(len(keep), bool))]
    places += [(result["by_domain"][name], inside_B) for name, inside_B in domains.items()]
    for place, inside_B in places:
      place[part] = {"n_agents": int(keep[inside_B].sum())} | _means(own, inside_B)
      place[part]["ci95"] = {
        name: of_ratio(total_B[inside_B], count_B[inside_B], cases.scene_B[inside_B])
        for name, (total_B, count_B) in own.items()
      }
      place[part] |= {name: _means(pairs, inside_B) for name, pairs in others.items()}
  result["joint"] = joint(cases, samples) | {"constant_velocity": joint(cases, straight)}
  return result


def _means(pairs, inside_B) -> dict[str, float | None]:
  return {name: _mean(total_B[inside_B], count_B[inside_B]) for name, (total_B, count_B) in pairs.items()}


def joint(cases, futures) -> dict[str, Any]:
  """Errors of futures [K, B, A, N, 2] as worlds: means over the windows with two agents or more in their first group.

  Only agents of one group answer one another in a roll-out. Sampled worlds are equally likely.
  """
  import jax
  import jax.numpy as jnp

  from evaluation.metrics import joint

  keep = jnp.asarray(cases.scored_BxA & (cases.windows["group_A"] == 1))
  truth = jnp.asarray(cases.truth_BxAxNx2)
  valid = jnp.broadcast_to(keep[..., None], truth.shape[:3])
  count = len(futures)
  chance = jnp.full(count, 1 / count)
  errors = jax.jit(jax.vmap(joint.joint_errors, (1, None, 0, 0, 0)))
  found = errors(jnp.asarray(futures), chance, truth, valid, keep)
  crowd = keep.sum(-1) > 1
  shown = ("worldADE", "worldFDE", "world_miss_rate", "world_collision_rate")
  means = {f"{name}_{count}": _mean(jnp.where(crowd, found[name], 0.0), crowd) for name in shown}
  return {"n_windows": int(crowd.sum())} | means


def _mean(totals, counts) -> float | None:
  """Sum over count; None where nothing counts."""
  return float(totals.sum() / counts.sum()) if int(counts.sum()) else None


def table(result: dict[str, Any]) -> str:
  """What the program prints."""
  lines = [f"{'':<28}{'agents':>8}{'minADE':>9}{'minFDE':>9}{'miss':>8}"]
  for part in ("all", "moving"):
    own = result[part]
    count = max(int(name.rpartition("_")[2]) for name in own if name.startswith("minADE_"))
    rows = [("mean future", own, 1), (f"best of {count} futures", own, count)]
    rows += [(name.replace("_", " "), own[name], 1) for name in ("likeliest", "constant_velocity")]
    for name, values, k in rows:
      numbers = [values[f"{metric}_{k}"] for metric in ("minADE", "minFDE", "miss_rate")]
      shown = "".join(f"{'-' if n is None else f'{n:.2f}':>9}" for n in numbers)
      lines.append(f"{part + ': ' + name:<28}{own['n_agents']:>8}{shown}")
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
