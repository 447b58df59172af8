"""What the heads of a trained run reach: python -m evaluation.heads --run=W [--dataset=DIR] [--split=S] --out=DIR.

Reads a split once. Metrics that add up (intersection over union, minADE, minFDE, misses, accuracy, coverage of stated
spreads) are sums and counts of every clip; average precision of boxes and map elements, and how far off boxes are that
were found, are taken over all answers of the split (evaluation/metrics/average_precision.py, true_positives.py). Both
overall and by domain. Of every head the clips with the greatest loss come first. Writes OUT/heads.json.
"""

from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_DATASET = flags.DEFINE_string("dataset", "", "Dataset to judge on; empty: the one trained on.")
_SPLIT = flags.DEFINE_string("split", "", "Its split; empty: the run's evaluation split.")
_OUT = flags.DEFINE_string("out", None, "Directory for heads.json.", required=True)
_WORST = flags.DEFINE_integer("worst", 10, "Clips to name of every head.", lower_bound=1)

_CHUNK = 16  # clips judged at once: one compiled shape


def main() -> int:
  from data.files import require_directory, write_json_atomic

  out = require_directory(_OUT.value, "--out") / "heads.json"
  from data.clips import BOX_CLASSES, ELEMENT_CLASSES
  from evaluation import split_metrics
  from evaluation.finite import require_finite
  from experiments import run as runs

  run = runs.open_run(_RUN.value, _DATASET.value)
  heads = heads_of(run)
  split = _SPLIT.value or run.config.data.eval_split
  metrics, findings, labels = judge(run, split)
  classes = {"boxes": BOX_CLASSES, "elements": ELEMENT_CLASSES}
  parts = {"all": labels["domain"] >= 0}
  parts |= {name: labels["domain"] == number for number, name in enumerate(run.dataset.domains)}
  judged = {
    name: split_metrics.means(metrics, keep)
    | split_metrics.precisions(findings, classes, keep)
    | {"clips": int(keep.sum()), "ci95": split_metrics.intervals(metrics, keep, labels["scene"])}
    for name, keep in parts.items()
    if keep.any()
  }
  result = judged.pop("all") | {
    "by_domain": judged,
    "worst": split_metrics.worst(metrics, heads, labels, run.dataset.domains, _WORST.value),
    "run": run.row["run_id"],
    "dataset_fingerprint": run.dataset.fingerprint,
    "split": split,
  }
  require_finite(result, run.path)
  write_json_atomic(out, result)
  print(table(result))
  print(out)
  return 0


def heads_of(run) -> list[str]:
  """Names of the heads of a run; BadInput where it has none."""
  import dataclasses

  from data.errors import BadInput

  if run.task.findings is None:
    what = f"{run.config.family} with {run.config.objective} has no heads to judge"
    raise BadInput(
      what, run.path, "choose a run of experiments/configs/driving.py: multi_task, occupancy or policy"
    )
  return [name for name, weight in dataclasses.asdict(run.config.loss.weights).items() if weight]


def judge(run, split: str) -> tuple[dict, dict, dict]:
  """(metrics: name to (sum, count) by clip, findings: kind to arrays by clip, scene and domain of every clip)."""
  import jax
  import numpy as np

  from data.reader import RecordSource
  from experiments.progress import Progress

  task = run.task
  source = RecordSource(run.dataset, split, tuple(dict.fromkeys((*task.fields, "scene", "domain"))))

  @jax.jit
  def each(params, weights, batch):
    def alone(record):
      return task.held_out(params, jax.tree.map(lambda x: x[None], record), jax.random.key(0))

    return jax.vmap(alone)(batch), task.findings(weights, batch)

  parts, labels = [], []
  with Progress(len(source), "clips", unit="clip") as bar:
    for start in range(0, len(source), _CHUNK):
      rows = np.arange(start, start + _CHUNK).clip(
        max=len(source) - 1
      )  # the last chunk repeats its last clip
      stacked, here = source.stacked(rows), min(_CHUNK, len(source) - start)
      batch = task.to_batch(stacked | {"position": rows.astype(np.int32)})
      found = jax.tree.map(lambda x, here=here: np.asarray(x)[:here], each(run.params, run.weights, batch))
      parts.append(found)
      labels.append({name: stacked[name][:here].astype(int) for name in ("scene", "domain")})
      bar.update(here)
  metrics, findings = jax.tree.map(lambda *values: np.concatenate(values), *parts)
  return metrics, findings, jax.tree.map(lambda *values: np.concatenate(values), *labels)


def table(result: dict[str, Any]) -> str:
  """What the program prints: a line for each number, overall and in the domain where it is least and greatest."""
  lines = [f"{'':<34}{'all':>9}{'least':>9}{'greatest':>9}"]
  for name, value in result.items():
    if isinstance(value, float):
      others = {d: own[name] for d, own in result["by_domain"].items() if own.get(name) is not None}
      low, high = (f(others, key=lambda d: others[d]) for f in (min, max)) if others else ("", "")
      edges = f"{others[low]:>9.3f}{others[high]:>9.3f}   {low}, {high}" if others else ""
      lines.append(f"{name:<34}{value:>9.3f}{edges}")
  for head, clips in result["worst"].items():
    shown = ", ".join(f"{clip['clip']} ({clip['domain']}, {clip['loss']:.2f})" for clip in clips[:3])
    lines.append(f"{f'worst of {head}':<34}clip {shown}")
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
