"""Fits the scaling law to a run table: python -m scaling.fit --runs=T.csv --out=DIR.

Leaves DIR/fit.json, figures (PDF and PNG) and report.html. Two steps make an honest forecast:
  --predict_flops=C [--predict_params=N --predict_tokens=D]   before the larger run starts: prediction.json
  --runs=T.csv,LARGER.csv --holdout_budgets=1                 afterwards: the same fit, and what became of it
The second reads DIR/prediction.json, or --prediction=FILE. LARGER.csv may hold several seeds of the run.
"""

import pathlib

from absl import flags

from data.errors import BadInput
from data.files import require_directory
from experiments import program

_RUNS = flags.DEFINE_list("runs", None, "Run tables (CSV), separated by commas.", required=True)
_OUT = flags.DEFINE_string("out", None, "Directory for fit.json, figures and report.html.", required=True)
_LOSS = flags.DEFINE_enum("loss", "huber", ["huber", "lad", "mse"], "What the parametric fit minimises.")
_BOOTSTRAP = flags.DEFINE_integer("bootstrap", 1000, "Draws behind the intervals.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.", lower_bound=0)
_HOLDOUT = flags.DEFINE_integer(
  "holdout_budgets", 0, "Largest budgets kept out of the fit and compared with what it says.", lower_bound=0
)
_PARAMS = flags.DEFINE_float("predict_params", None, "N of the run to predict; the optimum if left out.")
_TOKENS = flags.DEFINE_float("predict_tokens", None, "D of the run to predict.")
_FLOPS = flags.DEFINE_float("predict_flops", None, "C of the run to predict, fully counted.")
_PREDICTION = flags.DEFINE_string(
  "prediction", "", "prediction.json to compare with; empty: the one in --out, if there is one."
)


def main() -> int:
  asked = _PARAMS.value, _TOKENS.value, _FLOPS.value
  if _FLOPS.value is None and asked != (None, None, None):
    raise BadInput("is missing", "--predict_flops", "give the compute of the run to predict")
  if (_PARAMS.value is None) != (_TOKENS.value is None):
    raise BadInput("go together", "--predict_params and --predict_tokens", "give both or neither")
  for name, value in zip(("params", "tokens", "flops"), asked, strict=True):
    if value is not None and not 0 < value < float("inf"):
      raise BadInput(f"is {value}", f"--predict_{name}", "give a positive number")
  if _FLOPS.value is not None and _HOLDOUT.value:
    raise BadInput("looks back", "--holdout_budgets", "predict first, and hold out in a later call")
  if _FLOPS.value is not None and _PREDICTION.value:
    raise BadInput("looks back", "--prediction", "predict first, and compare in a later call")
  out = require_directory(_OUT.value, "--out")
  from scaling import analysis, fit_report

  found = analysis.analyse(
    [pathlib.Path(p) for p in _RUNS.value], _LOSS.value, _BOOTSTRAP.value, _SEED.value, _HOLDOUT.value
  )
  if _FLOPS.value is not None:
    found = analysis.predict(found, out / "prediction.json", _FLOPS.value, _PARAMS.value, _TOKENS.value)
  elif _PREDICTION.value or (out / "prediction.json").exists():
    found = analysis.compare(found, pathlib.Path(_PREDICTION.value or out / "prediction.json"))
  fit_report.write(found, out)
  print(fit_report.summary(found))
  print(out / "report.html")
  return 0


if __name__ == "__main__":
  program.run(main)
