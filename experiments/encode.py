"""Clips to codes of a trained tokeniser: python -m experiments.encode --run=DIR --dataset=DIR --out=DIR.

`--run` is a finished run of experiments/configs/tokeniser.py, `--dataset` a dataset of clips of the same grid. Splits
are kept. What comes out trains experiments/configs/codes.py:bev.
"""

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a tokeniser.", required=True)
_DATASET = flags.DEFINE_string("dataset", "", "Dataset of clips; empty: the one it was trained on.")
_OUT = flags.DEFINE_string("out", None, "Directory to make.", required=True)


def main() -> int:
  from data import clip_codes, dataset_writer
  from data.clip_tokens import of_cells
  from data.errors import BadInput
  from data.learned_tokens import LearnedTokens
  from experiments.progress import Progress
  from experiments.run import open_run
  from models.bev_tokeniser import halves

  dataset_writer.require_new(_OUT.value)
  run = open_run(_RUN.value, _DATASET.value)
  if run.config.family != "bev_tokeniser":
    raise BadInput(f"is a run of {run.config.family}", _RUN.value, "give a run of bev_tokeniser")
  tokens = of_cells(LearnedTokens(run.task.model.config, *halves(run.task.model, run.params)))
  config = clip_codes.codes_config(run.dataset.clip, tokens)
  examples = []
  with Progress(
    sum(counts["clips"] for counts in run.dataset.manifest["splits"].values()), "encoding", unit="clip"
  ) as bar:
    for split, scene, windows in clip_codes.examples(run.dataset, config, tokens):
      examples.append((split, scene, windows))
      bar.update(len(windows))
  splits = tuple(dict.fromkeys(split for split, _, _ in examples))
  notes = {
    "source": run.row["run_id"],
    "clips": run.dataset.fingerprint,
    "config_hash": run.row["config_hash"],
  }
  manifest = dataset_writer.write_dataset(
    _OUT.value, examples, config, run.dataset.domains, splits, notes, (config.kind,)
  )
  for name, count in manifest["splits"].items():
    print(f"{name:<11}{count[config.kind]:>8} windows {count['tokens']:>10} codes")
  return 0


if __name__ == "__main__":
  program.run(main)
