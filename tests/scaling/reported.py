"""One fitted ladder with everything a report can show: training curves, draws, a prediction and its outcome."""

import atexit
import dataclasses
import functools
import pathlib
import tempfile

import numpy as np

from scaling import analysis, fit_report
from scaling.analysis import Analysis, Options
from scaling.fitting import prediction
from tests.scaling.surface import DRIVING, isoflop, write

BUDGETS = 1e11 * 4.0 ** np.arange(4)
FACTORS = (0.2, 0.45, 1, 2.2, 5)


@functools.cache
def predicted() -> Analysis:
  """Four budgets of a driving surface, single seeds, and a run at four times the largest, held out."""
  rows = isoflop(DRIVING, BUDGETS, FACTORS, 0.003)
  flops = 4 * BUDGETS[-1]
  params, tokens = DRIVING.optimum(flops)
  larger = {"run_id": "larger", "params": params, "tokens": tokens, "flops": flops, "seed": 0}
  said = {"family": "motion", "git_revision": "0123456789abcdef", "started": ""}
  rows = [row | said for row in rows]
  rows.append(rows[0] | larger | {"loss": DRIVING.loss(params, tokens), "started": "2999-01-01T00:00:00Z"})
  rng = np.random.default_rng(0)
  curves = []
  for row in rows[:-1]:
    for share in np.geomspace(0.02, 1, 24):
      loss = DRIVING.loss(row["params"], row["tokens"] * share) * np.exp(0.003 * rng.standard_normal())
      seen = {"tokens": row["tokens"] * share, "flops": row["flops"] * share, "loss": loss}
      curves.append({"run_id": row["run_id"]} | seen)
  with tempfile.TemporaryDirectory() as folder:
    table = write(pathlib.Path(folder) / "runs.csv", rows)
    options = Options(curves=(write(pathlib.Path(folder) / "curves.csv", curves),))
    found = analysis.analyse([table], "huber", 60, 0, 1, options)
  target = prediction.Target(params, tokens, flops)
  made = prediction.forecast(
    found.fitted, found.iso, found.law, found.errors, target, 0, analysis.resampling(found.fitted, "case")
  )
  made["time"] = "2000-01-01T00:00:00Z"
  return dataclasses.replace(found, forecast=made, outcome=prediction.judge(made, found.held_out.rows))


@functools.cache
def written() -> pathlib.Path:
  """What `fit_report.write` leaves of it; the folder goes with the process."""
  folder = tempfile.TemporaryDirectory()
  atexit.register(folder.cleanup)
  fit_report.write(predicted(), pathlib.Path(folder.name))
  return pathlib.Path(folder.name)
