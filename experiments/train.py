"""One training run: python -m experiments.train --config=F.py[:variant] --workdir=W [--config.key=value]."""

import pathlib

from absl import flags

from experiments import program

_CONFIG = program.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Run directory; created, or resumed, on whatever mesh, if it is the same run.",
  required=True,
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", "", "HOST:PORT of process 0, for a run of several processes."
)
_PROCESSES = flags.DEFINE_integer("processes", 1, "Number of processes.", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", 0, "Index of this process.", lower_bound=0)
_WAIT = flags.DEFINE_integer("wait_s", 120, "Seconds to wait for the other processes.", lower_bound=1)


def main() -> int:
  values = program.config_dict(_CONFIG)
  from experiments import config as configs

  config = configs.from_dict(values)
  from experiments import run
  from experiments.processes import Group
  from experiments.run_directory import read_result

  group = Group(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, _WAIT.value)
  code = run.train(_WORKDIR.value, config, values, group if group.processes > 1 else None)
  if _PROCESS.value == 0:
    row = read_result(pathlib.Path(_WORKDIR.value))
    assert row is not None  # train returns when it is written
    print(f"held-out loss {row['loss']:.4f} after {row['steps']} steps")
    print(pathlib.Path(_WORKDIR.value) / "result.json")
  return code


if __name__ == "__main__":
  program.run(main)
