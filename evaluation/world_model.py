"""A trained motion model as a simulator, judged: python -m evaluation.world_model --run=W --out=DIR.

In pieces of held-out scenes the model moves all agents of a group on for --horizon_s seconds, with signals as logged:

  error           of the mean of the roll-outs, one step to the horizon, beside constant velocity
  realism         how likely the log is under the roll-outs, second by second (evaluation/metrics/realism.py)
  control         the ego is told to accelerate or steer for a second; what that has changed a second later, and how the
                  follower answers
  ego replay      the ego replays its log and the others are the model's: contacts, short times to collision, agents
                  off the road, beside the log itself and the free roll-out
  shifted ego     the ego acts half a second late, or brakes to a stop; the others are the model's, or replay their log

Writes OUT/world_model.json with intervals over scenes, by domain and worst slices first, and OUT/world_model.svg.
"""

from typing import Any

from absl import flags

from experiments import program

_RUN = flags.DEFINE_string("run", None, "Run directory of a finished training.", required=True)
_DATASET = flags.DEFINE_string("dataset", "", "Dataset to simulate; empty: the one trained on.")
_SPLIT = flags.DEFINE_string("split", "", "Its split; empty: the run's evaluation split.")
_OUT = flags.DEFINE_string("out", None, "Directory for the results.", required=True)
_OBSERVED = flags.DEFINE_float("observed_s", 2.5, "Seconds seen before.", lower_bound=1.5)
_HORIZON = flags.DEFINE_float("horizon_s", 8.0, "Seconds to simulate.", lower_bound=4.0)
_PIECES = flags.DEFINE_integer("pieces", 3, "Pieces per scene, spread over its length.", lower_bound=1)
_GROUPS = flags.DEFINE_integer("groups", 2, "Groups per piece, drawn at random.", lower_bound=1)
_ROLLOUTS = flags.DEFINE_integer("rollouts", 16, "Roll-outs behind realism and errors.", lower_bound=2)
_DRAWS = flags.DEFINE_integer("draws", 4, "Roll-outs of each test with a given ego.", lower_bound=1)
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Of the draws.", lower_bound=0.0)
_TOP_P = flags.DEFINE_float("top_p", 1.0, "The share of likeliest moves to draw from.", 0.0, 1.0)
_SEED = flags.DEFINE_integer("seed", 0, "Of groups, draws and intervals.")

_TOGETHER = 16  # scenarios simulated at once


def main() -> int:
  from data.errors import BadInput
  from data.files import require_directory, write_json_atomic

  out = require_directory(_OUT.value, "--out")
  from evaluation.simulation import figure
  from evaluation.simulation.batches import simulator_of
  from evaluation.simulation.report import report, roll_outs, table
  from evaluation.simulation.scenarios import make_scenarios
  from evaluation.simulation.simulator import Simulation
  from experiments import run as runs
  from experiments.progress import Progress
  from models.motion import MotionModel

  run = runs.open_run(_RUN.value, _DATASET.value)
  if not isinstance(run.task.model, MotionModel):
    raise BadInput(f"is of family {run.config.family}", _RUN.value, "give the run of a motion model")
  split, window = _SPLIT.value or run.config.data.eval_split, run.dataset.window
  observed = round(_OBSERVED.value / window.dt)
  steps = round(_HORIZON.value / window.dt) + 2  # accelerations are differences of differences
  if observed >= window.steps:
    raise BadInput(f"fills the model's window of {window.steps} moves", "--observed_s", "shorten it")
  scenes = run.dataset.scenes(split)
  scenarios = make_scenarios(scenes, window, observed, steps, _PIECES.value, _GROUPS.value, _SEED.value)
  how = Simulation(observed, window.steps, steps, window.dt, _TEMPERATURE.value, _TOP_P.value, cached=True)
  simulate = simulator_of(run.task, run.weights, scenarios, how, _TOGETHER, _SEED.value)
  with Progress(
    roll_outs(_ROLLOUTS.value, _DRAWS.value), f"{len(scenarios)} scenarios", unit="roll-out"
  ) as bar:

    def told(forced_NxCxA, draw: int):
      states = simulate(forced_NxCxA, draw)
      bar.update()
      return states

    result, points = report(scenarios, told, _ROLLOUTS.value, _DRAWS.value, _SEED.value)
  result["faults"] = scenarios.faults
  result |= {name: flag.value for name, flag in _settings().items()} | {
    "run": run.row["run_id"],
    "parameters": run.row["params"],
    "dataset_fingerprint": run.dataset.fingerprint,
    "split": split,
  }
  write_json_atomic(out / "world_model.json", result)
  figure.draw(result, points, out / "world_model")
  print(table(result))
  print(out / "world_model.json")
  return 0


def _settings() -> dict[str, Any]:
  return {
    "observed_s": _OBSERVED,
    "horizon_s": _HORIZON,
    "rollouts": _ROLLOUTS,
    "draws": _DRAWS,
    "temperature": _TEMPERATURE,
    "top_p": _TOP_P,
    "seed": _SEED,
  }


if __name__ == "__main__":
  program.run(main)
