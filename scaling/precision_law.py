"""Which size at which bits: python -m scaling.precision_law --runs=T.csv --scores=S.csv --costs=C.csv --out=DIR.

T.csv is the run table of a ladder, S.csv and C.csv are what export.ladder left of it. Fits what quantising adds to
the loss of a run of N parameters and D tokens by recipe (scaling/precision_table.py; Kumar et al., arXiv:2411.04330)
and, with --budget_flops=C, says which N at which bits has the least loss after quantisation within
--limits=bytes=32000,joules=1e-6 on the vehicle (scaling/advice/vehicle.py). Intervals are over runs and scenes drawn
again. Writes DIR/precision_law.json and a figure.
"""

import pathlib

from absl import flags

from experiments import program

_RUNS = flags.DEFINE_list("runs", None, "Run tables (CSV) of the ladder, separated by commas.", required=True)
_SCORES = flags.DEFINE_list("scores", None, "Tables of losses by recipe, of export.ladder.", required=True)
_COSTS = flags.DEFINE_string("costs", None, "Table of what answers cost, of export.ladder.", required=True)
_FLOPS = flags.DEFINE_float(
  "budget_flops", None, "Training compute C in FLOPs, fully counted.", lower_bound=1.0
)
_LIMITS = flags.DEFINE_list("limits", [], "Of the vehicle: bytes, latency_ms or joules, as bytes=32000.")
_HOLDOUT = flags.DEFINE_list(
  "holdout", [], "Runs that the laws do not see: what they say of these, beside the truth."
)
_OUT = flags.DEFINE_string("out", None, "Directory for the results.", required=True)
_DRAWS = flags.DEFINE_integer("bootstrap", 1000, "Draws behind the intervals.", lower_bound=100)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.", lower_bound=0)


def main() -> int:
  import numpy as np

  from data.errors import BadInput
  from data.files import require_directory, write_json_atomic
  from scaling import metric_scores, precision_table, table
  from scaling.advice import vehicle
  from scaling.figures import bits as figure_of_bits
  from scaling.figures import theme

  out = require_directory(_OUT.value, "--out")
  limits = given_limits(_LIMITS.value)
  if limits and _FLOPS.value is None:
    raise BadInput("limits say nothing without a training budget", "--limits", "give --budget_flops, too")
  whole = table.read_many([pathlib.Path(path) for path in _RUNS.value])
  names = [row["run_id"] for row in whole.rows]
  if unknown := sorted(set(_HOLDOUT.value) - set(names)):
    raise BadInput(f"no run {unknown[0]!r}", "--holdout", "give run ids of --runs")
  kept = np.array([name not in _HOLDOUT.value for name in names])
  every = metric_scores.read(_SCORES.value, names)
  runs, scores = whole.where(kept), precision_table.of_runs(every, kept)
  costs, bits = precision_table.read_costs(pathlib.Path(_COSTS.value))
  found = precision_table.analyse(runs, scores, bits, _DRAWS.value, _SEED.value)
  budget = _FLOPS.value or float(runs.flops.max())
  answer = vehicle.choose(found, runs, costs, bits, budget, limits)
  print(precision_table.markdown(found, runs))
  if not kept.all():
    print("\n" + precision_table.held_out(found, whole.where(~kept), precision_table.of_runs(every, ~kept)))
  print(f"\nTraining with {budget:.3g} FLOPs, at most {', '.join(_LIMITS.value) or 'anything'}:\n")
  print(vehicle.markdown(answer))
  asked = {"budget_flops": budget, "limits": limits, "draws": _DRAWS.value, "seed": _SEED.value}
  write_json_atomic(
    out / "precision_law.json",
    asked | {"table_sha256": runs.rows_sha256()} | precision_table.as_json(found) | vehicle.as_json(answer),
  )
  figure = figure_of_bits.draw(runs, found, answer, limits)
  theme.finish(figure, f"{len(runs)} runs, table {runs.rows_sha256()[:12]}, {budget:.3g} FLOPs")
  theme.save_pictures(figure, out / "precision_law", png=True)
  print(out / "precision_law.json")
  return 0


def given_limits(texts: list[str]) -> dict[str, float]:
  """{"bytes": 32000.0} of ["bytes=32000"]."""
  from data.errors import BadInput

  found = {}
  for text in texts:
    name, equals, value = text.partition("=")
    try:
      found[name] = float(value)
    except ValueError:
      equals = ""
    if not equals or not found[name] > 0:
      raise BadInput(f"{text!r} is no limit", "--limits", "write as in bytes=32000")
  return found


if __name__ == "__main__":
  program.run(main)
