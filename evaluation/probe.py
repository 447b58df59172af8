"""What the features of a trained run hold: python -m evaluation.probe --run=W [--dataset=DIR] [--split=S] --out=DIR.

Fits probes on frozen features of training clips and scores them on clips of other scenes, beside the same model at
random initialisation and beside what needs no features (evaluation/probing/ladder.py). Writes OUT/probe.json.
"""

from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_DATASET = flags.DEFINE_string("dataset", "", "Dataset to probe on; empty: the one trained on.")
_FIT = flags.DEFINE_string(
  "fit_split", "", "Split the probes are fitted on; empty: the run's training split."
)
_SPLIT = flags.DEFINE_string("split", "", "Split they are scored on; empty: the run's evaluation split.")
_OUT = flags.DEFINE_string("out", None, "Directory for probe.json.", required=True)
_CLIPS = flags.DEFINE_integer("clips", 2000, "Clips of each split at most; 0: all.", lower_bound=0)
_DRAWS = flags.DEFINE_integer("draws", 200, "Draws of scenes, and of shots.", lower_bound=10)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws and of the random initialisation.")

_CHUNK = 16  # clips embedded at once: one compiled shape


def main() -> int:
  from data.errors import BadInput
  from data.files import require_directory, write_json_atomic

  out = require_directory(_OUT.value, "--out") / "probe.json"
  import flax.linen as nn
  import jax

  from evaluation.probing.ladder import ladder
  from evaluation.probing.sides import read_side
  from evaluation.probing.targets import inputs
  from experiments import run as runs
  from experiments.progress import Progress

  run = runs.open_run(_RUN.value, _DATASET.value)
  task = run.task
  if task.embed is None:
    raise BadInput(f"{run.config.objective} has no features to read", _RUN.value, "choose another run")
  embed = jax.jit(task.embed)
  example = task.to_batch(run.dataset.example())
  untrained = nn.unbox(jax.jit(task.init)(jax.random.key(_SEED.value), example)["params"])
  params = {"trained": run.params, "random": untrained}
  embeds = {
    name: (lambda stacked, weights=weights: embed(weights, task.to_batch(stacked)))
    for name, weights in params.items()
  }
  splits = {
    "fit_split": _FIT.value or run.config.data.train_split,
    "split": _SPLIT.value or run.config.data.eval_split,
  }
  with Progress(3, "features of two splits, then probes", unit="part") as bar:
    sides = []
    for split in splits.values():
      sides.append(read_side(run.dataset, split, _CLIPS.value, tuple(task.fields), embeds, _CHUNK))
      bar.update()
    train, test = sides
    found = ladder(train, test, run.dataset.domains, _DRAWS.value, _SEED.value)
    bar.update()
  sensors = run.config.model.sensors.split(",") if run.config.family == "perception" else ()
  result = found | splits | {
    "run": run.row["run_id"],
    "dataset_fingerprint": run.dataset.fingerprint,
    "fit_clips": len(train.scene_N),
    "clips": len(test.scene_N),
    "inputs": inputs(run.config.family, sensors),
    "seed": _SEED.value,
  }  # fmt: skip
  write_json_atomic(out, result)
  print(table(result))
  print(out)
  return 0


def table(result: dict[str, Any]) -> str:
  """What the program prints: every rung by target, with 95 % intervals of the margin over random features.

  Scores are R^2 of a quantity and accuracy of a class. "input" marks a target that the model reads as it stands.
  """
  given = result.get("inputs", ())
  lines = [f"{'':<34}{'trained':>9}{'random':>9}{'trivial':>9}{'margin':>9}   95 %"]

  def row(name: str, target: str, scores: dict[str, Any]) -> None:
    note = "   input" if target in given else ""
    margin, floor = scores["margin"], scores["trivial"]
    span = "   {:+.3f} to {:+.3f}".format(*margin["ci95"]) if margin["ci95"] else "   one scene"
    numbers = (scores["trained"]["score"], scores["random"]["score"], floor, margin["score"])
    lines.append(f"{name:<34}" + "".join(f"{n:>9.3f}" for n in numbers) + span + note)

  for rung in ("linear", "neighbours"):
    for target, scores in result[rung].items():
      row(f"{rung}: {target}", target, scores)
  for target, domains in result["transfer"].items():
    for domain, scores in domains.items():
      row(f"zero-shot to {domain}: {target}", target, scores["zero_shot"])
  for target, counts in result["few_shot"].items():
    for shots, scores in counts.items():
      lines.append(f"{f'{shots} shots: {target}':<34}" + _pair(scores))
  for name, scores in result.get("place", {}).items():
    if name.startswith("recall"):
      lines.append(f"{f'place {name}':<34}" + _pair(scores) + f"{scores['chance']:>9.3f}")
  lines += [f"left out: {name}, {why}" for name, why in result["left_out"].items()]
  return "\n".join(lines)


def _pair(scores: dict[str, Any]) -> str:
  return "".join(f"{scores[kind]['score']:>9.3f}" for kind in ("trained", "random"))


if __name__ == "__main__":
  program.run(main)
