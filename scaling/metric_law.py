"""How any metric follows compute, by slice: python -m scaling.metric_law --runs=T.csv --scores=S.csv --out=DIR.

S.csv holds a row per run, metric, slice and cluster (a scene, a world), as evaluation.score_runs leaves it; "loss" is
in the run table. Of each metric less must be better; "1-score" is what is missing from the score. Fits
y = E + A (C / C_0)^-alpha to every metric in every slice and in all of them together (each counted alike), and says by
the pace of the last decade of compute whether it still improves (scaling/fitting/saturation.py), with intervals over
runs and clusters drawn again. Writes DIR/metric_law.csv and figures of the first two metrics side by side; how runs
rank by each metric is compared with the first.
"""

import pathlib

from absl import flags

from experiments import program

_RUNS = flags.DEFINE_list("runs", None, "Run tables (CSV), separated by commas.", required=True)
_SCORES = flags.DEFINE_list("scores", [], "Tables of scores (CSV) of these runs.")
_METRICS = flags.DEFINE_list(
  "metrics", None, 'Metrics of less is better; "1-NAME" is one less NAME.', required=True
)
_BEST = flags.DEFINE_bool("best_sizes", False, "Whether only the best size of each budget is looked at.")
_OUT = flags.DEFINE_string("out", None, "Directory for tables and figures.", required=True)
_DRAWS = flags.DEFINE_integer("bootstrap", 1000, "Draws behind the intervals.", lower_bound=100)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.", lower_bound=0)


def main() -> int:
  from data.errors import BadInput
  from data.files import require_directory

  out = require_directory(_OUT.value, "--out")
  if not _METRICS.value:
    raise BadInput("is empty", "--metrics", "give metrics, separated by commas")
  from scaling import metric_scores, metric_table, table
  from scaling.figures import metric_laws, theme
  from scaling.fitting import isoflop

  runs = table.read_many([pathlib.Path(path) for path in _RUNS.value])
  if _BEST.value:
    runs = metric_scores.best_sizes(runs)
  scores = {
    **metric_scores.of_runs(runs),
    **metric_scores.read(_SCORES.value, [row["run_id"] for row in runs.rows]),
  }
  # One stratum is one size at one compute.
  strata = isoflop.budgets(runs.flops) * (int(runs.params.max()) + 1) + runs.params.astype(int)
  found = metric_table.analyse(runs.flops, strata, scores, _METRICS.value, _DRAWS.value, _SEED.value)
  metric_table.write(out, found)
  figure = metric_laws.draw(runs.flops, found, _METRICS.value[:2])
  theme.finish(figure, f"{len(runs)} runs, table {runs.rows_sha256()[:12]}")
  theme.save_pictures(figure, out / "metric_law", png=True)
  print(metric_table.markdown(found))
  print(out / "metric_law.csv")
  return 0


if __name__ == "__main__":
  program.run(main)
