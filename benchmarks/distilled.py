"""What a teacher is worth: python -m benchmarks.distilled --dataset=build/sumo --workdir=build/distilled.

A wide motion model teaches a narrow one, which learns the same moves, in the same order, as a twin without a teacher:
half of the taught one's objective is the teacher's answers. Run again to continue. Leaves WORKDIR/distilled.csv, a row
per run: held-out nats per logged move.
"""

import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import seeded_runs
from experiments import program

_DATASET, _WORKDIR, _SEEDS = seeded_runs.define(
  "Dataset of simulated windows, by data.build.", "Teachers, each with its students and their twins."
)
_TEACHER = flags.DEFINE_integer("teacher", 32, "Width of a teacher.", lower_bound=4)
_WIDTH = flags.DEFINE_integer("width", 8, "Width of a student.", lower_bound=4)
_TOKENS = flags.DEFINE_integer("tokens", 400_000, "Moves of a teacher.", lower_bound=1000)
_BUDGETS = flags.DEFINE_list("budgets", ["50000", "200000"], "Moves of a student.")

FIELDS = ("seed", "role", "tokens", "params", "loss", "run_id")


def main() -> int:
  from data.files import require_directory
  from experiments.configs import motion, motion_distil
  from experiments.progress import Progress

  work = require_directory(_WORKDIR.value, "--workdir")
  rows: list[dict] = []
  with Progress(_SEEDS.value * (1 + 2 * len(_BUDGETS.value)), "runs", unit="run") as bar:

    def add(role: str, config, seed: int, tokens: int) -> pathlib.Path:
      out = work / f"{role}_{tokens}_{seed}"
      row = seeded_runs.train(out, seeded_runs.motion(config, _DATASET.value, seed, tokens))
      values = (seed, role, tokens, row["params"], row["loss"], row["run_id"])
      rows.append(dict(zip(FIELDS, values, strict=True)))
      seeded_runs.write(work / "distilled.csv", rows)
      bar.update(1)
      return out

    for seed in range(_SEEDS.value):
      teacher = add("teacher", motion.get_config(f"w{_TEACHER.value}"), seed, _TOKENS.value)
      for tokens in map(int, _BUDGETS.value):
        add("alone", motion.get_config(f"w{_WIDTH.value}"), seed, tokens)
        taught = motion_distil.get_config(f"w{_WIDTH.value}")
        taught.loss.teacher = str(teacher)
        add("taught", taught, seed, tokens)
  print(work / "distilled.csv")
  return 0


if __name__ == "__main__":
  program.run(main)
