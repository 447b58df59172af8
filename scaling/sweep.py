"""Runs a config's sweep() and leaves runs.csv: python -m scaling.sweep --config=F.py[:variant] --workdir=W.

Run the same command again to continue: finished trials are kept, killed ones resume from their checkpoints.
W/trials.jsonl lists the trials, W/runs/<id> holds their run directories, W/logs/<id>.log what they printed.
--config.key=value holds for every trial, and is refused for a key that the sweep itself sets to another value.
"""

from absl import flags

from experiments import program

MODULE = "experiments.train"


_CONFIG = program.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Directory of the sweep; created, or continued.", required=True
)
_ENGINE = flags.DEFINE_enum("engine", "local", ["local"], "What runs the trials: this machine.")
_SLOTS = flags.DEFINE_integer("slots", 2, "Trials at a time; processors are shared equally.", lower_bound=1)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the trials and stop.")


def main() -> int:
  from ml_collections import config_flags

  program.config_dict(_CONFIG)
  holder = flags.FLAGS["config"]
  config_file, _, variant = config_flags.get_config_filename(holder).partition(":")
  base = config_flags.get_override_values(holder)
  if _DRY_RUN.value:
    from scaling import trials

    expanded = trials.expand(config_file, variant, base, MODULE)
    for trial in expanded:
      print(trial.trial_id, f"{trial.flops:.3g} FLOPs", *trial.argv)
    print(f"{len(expanded)} trials, {sum(t.flops for t in expanded):.3g} FLOPs")
    return 0
  from scaling import local

  try:
    print(local.run(config_file, variant, base, MODULE, _WORKDIR.value, _SLOTS.value))
  except local.Stopped as error:
    raise program.Preempted(str(error)) from None
  return 0


if __name__ == "__main__":
  program.run(main)
