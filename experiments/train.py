"""One training run: python -m experiments.train --config=F.py[:variant] --workdir=W [--config.key=value]."""

from absl import flags

from experiments import program

_CONFIG = program.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Run directory; created, or resumed if it has the same config.", required=True
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", "", "HOST:PORT of process 0, for a run of several processes."
)
_PROCESSES = flags.DEFINE_integer("processes", 1, "Number of processes.", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", 0, "Index of this process.", lower_bound=0)


def main() -> int:
  values = program.config_dict(_CONFIG)
  from experiments import config as configs

  config = configs.from_dict(values)
  from experiments import run

  return run.train(_WORKDIR.value, config, values, _COORDINATOR.value, _PROCESSES.value, _PROCESS.value)


if __name__ == "__main__":
  program.run(main)
