"""What a world model of codes says of frames to come:

  python -m evaluation.code_forecast --run=W [--tokeniser=W] --out=DIR

Shows the model --observed frames of held-out windows and the ego's logged actions, and lets it write the rest, code by
code and frame after frame, beside copying the last frame and unigrams (evaluation/codes/scores.py). Accuracy is that of
the roll-out of likeliest codes; nats are those of the logged frame t after M = --samples sampled roll-outs,

  -1/S log 1/M sum_m prod_s p(c[t,s] | c[t,<s], observed frames, frames that m wrote before t),

exact for the first frame and above the model's own for later ones, the less the more samples. With the run of the
tokeniser that made the codes, frames are decoded and compared with the cells of its clips, beside copies of the last
frame: its cells, its cells moved with the ego (evaluation/codes/cell_copy.py), its codes decoded; and beside what the
tokeniser makes of the truth, which is as much as its codes can show. Writes OUT/code_forecast.json, and with a
tokeniser OUT/code_forecast.png: windows from the worst against copying codes to the best.
"""

from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training of codes.", required=True)
_TOKENISER = flags.DEFINE_string("tokeniser", "", "Run directory of the tokeniser that made its codes.")
_DATASET = flags.DEFINE_string("dataset", "", "Dataset of codes to forecast; empty: the one trained on.")
_CLIPS = flags.DEFINE_string(
  "clips", "", "The clips it was made of; empty: those the tokeniser was trained on."
)
_SPLIT = flags.DEFINE_string("split", "", "Split to forecast; empty: the run's evaluation split.")
_OUT = flags.DEFINE_string("out", None, "Directory for code_forecast.json.", required=True)
_OBSERVED = flags.DEFINE_integer("observed", 2, "Frames shown of every window.", lower_bound=1)
_SAMPLES = flags.DEFINE_integer("samples", 4, "M: sampled roll-outs behind the nats.", lower_bound=1)
_WINDOWS = flags.DEFINE_integer("windows", 0, "Windows, spread over the split; 0: all.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the samples.")

_CHUNK = 16  # windows rolled out at once: one compiled shape
_WORST, _SHOWN = 5, 4  # windows named in the result, windows in the picture


def main() -> int:
  from data.files import require_directory, write_json_atomic

  out = require_directory(_OUT.value, "--out")
  import numpy as np

  from data.errors import BadInput
  from data.reader import RecordSource
  from evaluation.codes.scores import CodeForecast, training_tables
  from experiments import run as runs

  run = runs.open_run(_RUN.value, _DATASET.value)
  if run.config.family != "codes":
    raise BadInput(f"is a run of {run.config.family}", _RUN.value, "give a run of codes")
  config, observed = run.task.model.config, _OBSERVED.value
  if observed >= config.past.steps:
    what = f"{observed} of {config.past.steps} frames leave none to forecast"
    raise BadInput(what, "--observed", "show fewer")
  split = _SPLIT.value or run.config.data.eval_split
  views_of = _decoder(run.dataset, split) if _TOKENISER.value else None  # refused before the long work

  source = RecordSource(run.dataset, split, run.task.fields)
  chosen = np.unique(np.linspace(0, len(source) - 1, _WINDOWS.value or len(source)).astype(int))
  windows = source.stacked(chosen)
  if not windows["mask_T"].all():
    raise BadInput("holds windows with frames that are not there", run.dataset.path, "choose another dataset")
  training = RecordSource(run.dataset, run.config.data.train_split, ("codes_TxS",))
  train = training.stacked(np.arange(len(training)))["codes_TxS"].astype(int)
  codes, domain = windows["codes_TxS"].astype(int), windows["domain"].astype(int)
  made = predict(
    run.task.model, run.weights, codes, windows["actions_T"], observed, _SAMPLES.value, _SEED.value
  )
  forecast = CodeForecast(codes, observed, *made, domain, *training_tables(train, config.codes, observed))
  views = views_of(forecast, chosen) if views_of else None
  result = report(forecast, views, run.dataset.domains, chosen) | {
    "observed": observed,
    "samples": _SAMPLES.value,
    "seed": _SEED.value,
    "run": run.row["run_id"],
    "dataset_fingerprint": run.dataset.fingerprint,
    "split": split,
  }
  write_json_atomic(out / "code_forecast.json", result)
  print(table(result))
  if views:
    picture(forecast, views, run.dataset.domains).savefig(out / "code_forecast.png", dpi=160)
  print(out / "code_forecast.json")
  return 0


def predict(
  model, params, codes_NxTxS, actions_NxT, observed: int, samples: int, seed: int
) -> tuple[Any, Any]:
  """(likeliest codes [N, K, S], nats per code [N, K] of the logged frames)."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from experiments.progress import Progress
  from models.codes import roll_out

  @jax.jit
  def likeliest(params, codes, actions):
    return roll_out(model, params, codes, actions, observed, jax.random.key(0), temperature=0.0)[:, observed:]

  @jax.jit
  def log_probability(params, codes, actions, key):
    """[B, K]: of each logged frame after the frames that one sampled roll-out wrote."""
    written, logs = roll_out(model, params, codes, actions, observed, key), []
    for t in range(observed, codes.shape[1]):
      given = {"codes_BxTxS": written.at[:, t].set(codes[:, t]), "actions_BxT": actions}
      log_BxSxV = jax.nn.log_softmax(model.apply({"params": params}, given)[:, t])
      logs.append(jnp.take_along_axis(log_BxSxV, codes[:, t, :, None], axis=-1)[..., 0].sum(-1))
    return jnp.stack(logs, 1)

  made, logs = [], []
  with Progress(len(codes_NxTxS), "roll-outs", unit="window") as bar:
    for rows, count in _chunks(len(codes_NxTxS)):
      inputs = jnp.asarray(codes_NxTxS[rows], jnp.int32), jnp.asarray(actions_NxT[rows], jnp.int32)
      made.append(np.asarray(likeliest(params, *inputs))[:count])
      key = jax.random.fold_in(jax.random.key(seed), int(rows[0]))
      keys = [jax.random.fold_in(key, m) for m in range(samples)]
      drawn = np.stack([log_probability(params, *inputs, one) for one in keys])[:, :count]
      logs.append(np.asarray(jax.nn.logsumexp(drawn, axis=0)) - np.log(samples))
      bar.update(count)
  return np.concatenate(made), -np.concatenate(logs) / codes_NxTxS.shape[2]


def _chunks(total: int):
  """(rows [_CHUNK], how many of them are new): the last chunk is filled up by its last row."""
  import numpy as np

  for start in range(0, total, _CHUNK):
    yield np.arange(start, start + _CHUNK).clip(max=total - 1), min(_CHUNK, total - start)


def _decoder(dataset, split: str):
  """(forecast, rows of the split) -> {view: cells [N, K, H, W]}, by the tokeniser that made the dataset's codes."""
  import numpy as np

  from data.codes import as_tokens
  from data.errors import BadInput
  from data.learned_tokens import LearnedTokens
  from data.reader import RecordSource
  from evaluation.codes.cell_copy import moved_copy
  from experiments import run as runs
  from models.bev_tokeniser import halves

  run = runs.open_run(_TOKENISER.value, _CLIPS.value)
  if run.config.family != "bev_tokeniser":
    raise BadInput(f"is a run of {run.config.family}", _TOKENISER.value, "give a run of bev_tokeniser")
  notes = dataset.manifest["notes"]
  if notes.get("config_hash") != run.row["config_hash"]:
    what = f"its codes are of {notes.get('source', 'another source')}, not of {_TOKENISER.value}"
    raise BadInput(what, dataset.path, "give the tokeniser that made them")
  if notes["clips"] != run.dataset.fingerprint:
    raise BadInput("its codes are of other clips", dataset.path, "give those clips with --clips")
  tokeniser = LearnedTokens(run.task.model.config, *halves(run.task.model, run.weights))
  clip, source = run.dataset.clip, RecordSource(run.dataset, split, ("cells_TxHxW", "place_Tx3"))

  def decode(codes_NxKxS):
    parts = [tokeniser.decode(as_tokens(codes_NxKxS[rows]))[:n] for rows, n in _chunks(len(codes_NxKxS))]
    return np.concatenate(parts)

  def views(forecast, chosen) -> dict[str, Any]:
    clips, seen = source.stacked(chosen), forecast.observed
    cells, place = clips["cells_TxHxW"], clips["place_Tx3"]
    truth = cells[:, seen:]
    moved = [
      [moved_copy(cells[n, seen - 1], place[n, seen - 1], after, clip) for after in place[n, seen:]]
      for n in range(len(cells))
    ]
    return {
      "truth": truth,
      "model": decode(forecast.likeliest_NxKxS),
      "copy": np.broadcast_to(cells[:, seen - 1 : seen], truth.shape),
      "copy_moved": np.array(moved),
      "copy_decoded": decode(forecast.copy_NxKxS),
      "reconstruction": decode(forecast.truth_NxKxS),
    }

  return views


def report(forecast, views, domains: tuple[str, ...], chosen) -> dict[str, Any]:
  """code_forecast.json but for its provenance. views: of `_decoder`, or None. chosen: rows of the split."""
  import numpy as np

  from evaluation.codes.cell_scores import cell_scores

  def part(keep) -> dict[str, Any]:
    rows = forecast.rows(keep)
    for k, row in enumerate(rows if views else ()):
      truth = views["truth"][keep, k]
      row["cells"] = {
        name: cell_scores(one[keep, k], truth) for name, one in views.items() if name != "truth"
      }
    return {"windows": int(keep.sum()), "horizons": rows}

  margin, still = forecast.margin_N(), forecast.still_N()
  return part(np.ones(len(margin), bool)) | {
    "by_past": {name: part(keep) for name, keep in (("still", still), ("changing", ~still)) if keep.any()},
    "by_domain": {domains[i]: part(forecast.domain_N == i) for i in np.unique(forecast.domain_N)},
    "worst": [
      {"window": int(chosen[i]), "domain": domains[forecast.domain_N[i]], "less_than_copy": float(-margin[i])}
      for i in margin.argsort(kind="stable")[:_WORST]
    ],
  }


def picture(forecast, views, domains: tuple[str, ...]):
  """Windows from the worst against copying codes to the best, evenly by rank; a row for each view."""
  import numpy as np

  from evaluation.codes.cell_pictures import sheet

  margin = forecast.margin_N()
  shown = margin.argsort(kind="stable")[np.linspace(0, len(margin) - 1, _SHOWN).astype(int)]
  names = {
    "truth": "truth",
    "model": "model's\nforecast",
    "copy": "last frame\nseen",
    "copy_moved": "the same,\nego moved",
  }
  rows = [(label, views[name][shown]) for name, label in names.items()]
  titles = [f"{domains[forecast.domain_N[i]].replace('_', ' ')}: {_against_copy(margin[i])}" for i in shown]
  heads = [f"frame +{k + 1}" for k in range(views["truth"].shape[1])]
  return sheet(rows, titles, heads)


def _against_copy(margin: float) -> str:
  """The share of right codes beside that of copying, in points."""
  points = round(abs(margin) * 100)
  return f"{points} points {'better' if margin > 0 else 'worse'}" if points else "as good as copying"


def table(result: dict[str, Any]) -> str:
  """What the program prints."""
  names = ("model", "copy", "unigrams")
  lines = [f"{'':<24}{'changed':>8}" + "".join(f"{name:>18}" for name in names) + "   accuracy, nats"]
  for part, found in {"all": result, **result["by_past"], **result["by_domain"]}.items():
    for row in found["horizons"]:
      pairs = "".join(f"{row[name]['accuracy']:>10.3f}{row[name]['nats']:>8.3f}" for name in names)
      lines.append(f"{part + ', frame +' + str(row['frames']):<24}{row['changed']:>8.3f}{pairs}")
  for row in result["horizons"]:
    if "cells" in row:
      lines.append(f"{'cells':<32}{'accuracy':>10}{'mean IoU':>10}{'of agents':>10}")
    for name, scores in row.get("cells", {}).items():
      numbers = [scores[key] for key in ("accuracy", "mean_iou", "agents_iou")]
      shown = "".join(f"{'-' if n is None else f'{n:.3f}':>10}" for n in numbers)
      lines.append(f"{'frame +' + str(row['frames']) + ': ' + name:<32}{shown}")
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
