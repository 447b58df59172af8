"""A law against the truth: python -m experiments.known_entropy --dataset=DIR --runs=T.csv --fit=F/fit.json --out=DIR.

The dataset is one of data.markov, whose tokens have an entropy in closed form: what the law's E must be. Also reads
the held-out split with the true probabilities, as any model's loss is read. Writes OUT/known_entropy.json and a figure.
"""

import pathlib
from typing import Any

from absl import flags

from experiments import program

_DATASET = flags.DEFINE_string("dataset", None, "Dataset that the runs learned from.", required=True)
_RUNS = flags.DEFINE_string("runs", None, "Their run table (CSV).", required=True)
_FIT = flags.DEFINE_string("fit", None, "fit.json that scaling.fit made of the table.", required=True)
_OUT = flags.DEFINE_string("out", None, "Directory for known_entropy.json, .svg and .png.", required=True)
_SPLIT = flags.DEFINE_string("split", "validation", "Held-out split that the runs are judged on.")

_CHUNK = 64  # windows read at once


def main() -> int:
  import json

  import numpy as np

  from data.datasets import open_dataset
  from data.errors import BadInput
  from data.files import read_json, require_directory, write_json_atomic
  from scaling import table
  from scaling.figures import theme

  out = require_directory(_OUT.value, "--out")
  dataset, runs = open_dataset(_DATASET.value), table.read_runs(_RUNS.value)
  law = read_json(_FIT.value, "give the fit.json of scaling.fit")["approach3"]
  if "entropy" not in dataset.manifest["notes"]:
    raise BadInput("its entropy is not known", dataset.path, "give a dataset of --source=markov")
  found = truth(dataset, _SPLIT.value)
  wanted = f"{dataset.fingerprint}/{_SPLIT.value}"
  if other := {row["split_fingerprint"] for row in runs.rows} - {wanted}:
    raise BadInput(f"was measured on {other.pop()}, not on {wanted}", _RUNS.value, "give its own dataset")
  best = runs.rows[int(np.argmin(runs.loss))]
  (low, high), entropy = law["ci95"]["E"], found["entropy"]
  result = found | {
    "E": law["E"],
    "E_ci95": [low, high],
    "error_percent": 100 * (law["E"] / entropy - 1),
    "inside_ci95": low <= entropy <= high,
    "lowest_loss": float(best["loss"]),
    "lowest_loss_by_domain": {name: json.loads(best["loss_by_slice"])[name] for name in dataset.domains},
    "n_runs": len(runs),
  }
  write_json_atomic(out / "known_entropy.json", result)
  figure = draw(runs, law, entropy)
  theme.finish(figure, f"run table {runs.table_sha256} (sha256), {len(runs)} runs")
  theme.save_pictures(figure, out / "known_entropy", png=True)
  where = "inside" if result["inside_ci95"] else "outside"
  print(f"E {law['E']:.4f} [{low:.4f}, {high:.4f}], entropy {entropy:.4f} nats per token: {where}")
  print(f"error {result['error_percent']:+.2f} %, the best of {len(runs)} runs {result['lowest_loss']:.4f}")
  print(pathlib.Path(out) / "known_entropy.json")
  return 0


def truth(dataset: Any, split: str) -> dict[str, Any]:
  """The entropy of a split in closed form, over all and by domain, and what the true probabilities cost there."""
  import numpy as np

  from data import markov
  from data.reader import RecordSource

  tables = dataset.manifest["notes"]["arguments"]["seed"]
  source = RecordSource(dataset, split, ("tokens_TxA", "mask_TxA", "domain"))
  nats, count = np.zeros(len(dataset.domains)), np.zeros(len(dataset.domains))
  for start in range(0, len(source), _CHUNK):
    some = source.stacked(np.arange(start, min(start + _CHUNK, len(source))))
    for index, domain in enumerate(dataset.domains):
      here = some["domain"] == index
      tokens, mask = some["tokens_TxA"][here], some["mask_TxA"][here]
      logs = markov.log_probabilities(domain, tables, tokens)
      nats[index] -= np.take_along_axis(logs, tokens[..., None].astype(np.int64), -1)[..., 0][mask].sum()
      count[index] += mask.sum()
  known = np.array([markov.entropy(domain) for domain in dataset.domains])
  return {
    "entropy": float((known * count).sum() / count.sum()),
    "entropy_by_domain": dict(zip(dataset.domains, known.tolist(), strict=True)),
    "loss_of_the_truth": float(nats.sum() / count.sum()),
    "loss_of_the_truth_by_domain": dict(zip(dataset.domains, (nats / count).tolist(), strict=True)),
    "held_out_tokens": int(count.sum()),
  }


def draw(runs: Any, law: dict[str, Any], entropy: float) -> Any:
  """Loss over D at every N, with the law's curves, its E with interval, and the entropy."""
  import matplotlib as mpl
  import numpy as np
  from matplotlib.figure import Figure

  from scaling.figures import axes
  from scaling.figures.theme import INK, ORANGE, SOFT, STYLE, WIDTH, budget_colours

  sizes = np.unique(runs.params)
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(0.62 * WIDTH, 0.46 * WIDTH), layout="constrained")
    ax = figure.subplots()
    tokens = np.geomspace(runs.tokens.min() / 1.3, runs.tokens.max() * 1.3, 100)
    for size, colour in zip(sizes, budget_colours(sizes), strict=True):
      here = runs.params == size
      loss = law["E"] + law["A"] * size ** -law["alpha"] + law["B"] * tokens ** -law["beta"]
      ax.plot(tokens, loss, color=colour, lw=0.9)
      ax.plot(runs.tokens[here], runs.loss[here], "o", color=colour, label=f"N = {size:,.0f}")
    ax.axhspan(*law["ci95"]["E"], color=SOFT, alpha=0.2, lw=0)
    ax.axhline(law["E"], color=INK, lw=0.8, label="E of the law, 95 %")
    ax.axhline(entropy, color=ORANGE, ls="--", label="entropy")
    axes.count_axis(ax.xaxis, "tokens $D$")
    ax.set_ylabel("held-out loss, nats per token")
    ax.set_title("What no model can go below")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center")
  return figure


if __name__ == "__main__":
  program.run(main)
