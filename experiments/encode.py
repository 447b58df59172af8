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
  import jax

  from data import clip_codes, dataset_writer
  from data.codes import CodesConfig
  from data.errors import BadInput
  from experiments.run import open_run

  dataset_writer.require_new(_OUT.value)
  run = open_run(_RUN.value, _DATASET.value)
  if run.config.family != "bev_tokeniser":
    raise BadInput(f"is a run of {run.config.family}", _RUN.value, "give a run of bev_tokeniser")
  model = run.task.model
  config = CodesConfig(
    run.dataset.clip.steps, model.config.places, model.config.vocabulary, clip_codes.ACTIONS
  )

  @jax.jit
  def encode(cells_BxTxHxW):
    return model.apply({"params": run.params}, cells_BxTxHxW, method="encode")[0]

  examples = list(clip_codes.examples(run.dataset, config, encode))
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
