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

_WORST, _SHOWN = 5, 4  # windows named in the result, windows in the picture


def main() -> int:
  from data.files import require_directory, write_json_atomic

  out = require_directory(_OUT.value, "--out")
  import jax
  import numpy as np

  from data.errors import BadInput
  from data.reader import RecordSource
  from evaluation.codes.roll_outs import CHUNK, make_predict
  from evaluation.codes.scores import CodeForecast
  from evaluation.codes.tables import CodeCounts
  from evaluation.finite import require_finite
  from experiments import run as runs
  from experiments.progress import Progress

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
  pieces = RecordSource(run.dataset, run.config.data.train_split, ("codes_TxS",)).pieces()
  ahead = config.past.steps - observed
  training = CodeCounts.of((piece["codes_TxS"] for piece in pieces), config.codes, ahead)
  predict = make_predict(run.task.model, observed, _SAMPLES.value)

  def forecast_of(rows, key) -> CodeForecast:
    """Of so many windows of the split."""
    windows = source.stacked(rows)
    if not windows["mask_T"].all():
      what = "holds windows with frames that are not there"
      raise BadInput(what, run.dataset.path, "choose another dataset")
    codes, domain = windows["codes_TxS"].astype(int), windows["domain"].astype(int)
    likeliest, nats = predict(run.weights, codes, windows["actions_T"], key)
    return CodeForecast(codes, observed, likeliest, nats, domain, training)

  scores: list[dict] = []
  cells: dict = {}
  with Progress(len(chosen), "roll-outs", unit="window") as bar:
    for start in range(0, len(chosen), CHUNK):
      rows = chosen[start : start + CHUNK]
      forecast = forecast_of(rows, jax.random.fold_in(jax.random.key(_SEED.value), start))
      scores.append(forecast.scores())
      if views_of:
        add_cells(cells, views_of(forecast, rows), scores[-1])
      bar.update(len(rows))
  together = {name: np.concatenate([one[name] for one in scores]) for name in scores[0]}
  result = report(together, cells, run.dataset.domains, chosen) | {
    "observed": observed,
    "samples": _SAMPLES.value,
    "seed": _SEED.value,
    "run": run.row["run_id"],
    "dataset_fingerprint": run.dataset.fingerprint,
    "split": split,
  }
  require_finite(result, run.path)
  write_json_atomic(out / "code_forecast.json", result)
  print(table(result))
  if views_of:
    shown = spread(together["margin_N"])
    views = views_of(forecast_of(chosen[shown], jax.random.key(_SEED.value)), chosen[shown])
    theirs = {name: value[shown] for name, value in together.items()}
    picture(theirs, views, run.dataset.domains).savefig(out / "code_forecast.png", dpi=160)
  print(out / "code_forecast.json")
  return 0


def _decoder(dataset, split: str):
  """(forecast, rows of the split) -> {view: cells [N, K, H, W]}, by the tokeniser that made the dataset's codes."""
  import numpy as np

  from data.codes import as_tokens
  from data.errors import BadInput
  from data.learned_tokens import LearnedTokens
  from data.reader import RecordSource
  from evaluation.codes.cell_copy import moved_copy
  from evaluation.codes.roll_outs import filled
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
    return tokeniser.decode(as_tokens(codes_NxKxS[filled(len(codes_NxKxS))]))[: len(codes_NxKxS)]

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


def _parts(scores: dict) -> dict[tuple, Any]:
  """Which windows are of each part that is reported of."""
  import numpy as np

  still, domain = scores["still_N"], scores["domain_N"]
  past = {("by_past", "still"): still, ("by_past", "changing"): ~still}
  found: dict[tuple, Any] = {("all",): np.ones(len(still), bool)} | past
  found |= {("by_domain", int(i)): domain == i for i in np.unique(domain)}
  return {part: keep for part, keep in found.items() if keep.any()}


def add_cells(cells: dict, views: dict, scores: dict) -> None:
  """Adds to cells[part][view], [K, V, V] of evaluation/codes/cell_scores.py, what some windows show."""
  import numpy as np

  from evaluation.codes.cell_scores import cell_pairs

  for part, keep in _parts(scores).items():
    own = cells.setdefault(part, {})
    for name in [name for name in views if name != "truth"]:
      both = zip(views[name][keep].swapaxes(0, 1), views["truth"][keep].swapaxes(0, 1), strict=True)
      own[name] = own.get(name, 0) + np.stack([cell_pairs(*one) for one in both])


def report(scores: dict, cells: dict, domains: tuple[str, ...], chosen) -> dict[str, Any]:
  """code_forecast.json but for its provenance.

  scores: of CodeForecast.scores, all windows together. cells: of `add_cells`, or empty. chosen: rows of the split.
  """
  from evaluation.codes.cell_scores import cell_scores
  from evaluation.codes.scores import rows

  found: dict[str, Any] = {}
  for part, keep in _parts(scores).items():
    horizons = rows(scores, keep)
    if cells:
      for k, row in enumerate(horizons):
        row["cells"] = {name: cell_scores(cells[part][name][k]) for name in cells[part]}
    one = {"windows": int(keep.sum()), "horizons": horizons}
    if part == ("all",):
      found |= one | {"by_past": {}, "by_domain": {}}
    else:
      group, name = part
      found[group][domains[name] if group == "by_domain" else name] = one
  margin = scores["margin_N"]
  found["worst"] = [
    {"window": int(chosen[i]), "domain": domains[scores["domain_N"][i]], "less_than_copy": float(-margin[i])}
    for i in margin.argsort(kind="stable")[:_WORST]
  ]
  return found


def spread(margin_N):
  """Rows of windows from the worst against copying codes to the best, evenly by rank."""
  import numpy as np

  return margin_N.argsort(kind="stable")[np.linspace(0, len(margin_N) - 1, _SHOWN).astype(int)]


def picture(scores: dict, views: dict, domains: tuple[str, ...]):
  """These windows side by side; a row for each view."""
  from evaluation.codes.cell_pictures import sheet

  names = {
    "truth": "truth",
    "model": "model's\nforecast",
    "copy": "last frame\nseen",
    "copy_moved": "the same,\nego moved",
  }
  rows = [(label, views[name]) for name, label in names.items()]
  titles = [
    f"{domains[domain].replace('_', ' ')}: {_against_copy(margin)}"
    for domain, margin in zip(scores["domain_N"], scores["margin_N"], strict=True)
  ]
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
