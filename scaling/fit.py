"""Fits the scaling law to a run table: python -m scaling.fit --runs=T.csv --out=DIR.

Leaves DIR/fit.json, draws.csv (the bootstrap, for joint draws), figures (PDF and PNG) and report.html. Approach 1 is
made from the training curves that a sweep leaves as curves.csv beside its runs.csv, or from --curves=F.csv; --curves=
leaves it out. Two steps make an honest forecast:
  --predict_flops=C [--predict_params=N --predict_tokens=D]   before the larger run starts: prediction.json
  --runs=T.csv,LARGER.csv --holdout_budgets=1                 afterwards: the same fit, and what became of it
The second reads DIR/prediction.json, or --prediction=FILE. LARGER.csv may hold several seeds of the run.

Tables of other people: --columns says what their columns are called, --params_convention which parameters they count;
run ids may be missing, and one of tokens and flops, which is then C = 6 N D. Hoffmann's points, as digitised:
  --columns="params:Model Size,flops:Training FLOP" --params_convention=total --drop_largest_losses=5
"""

import difflib
import pathlib
import sys

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
_MINIMUM = flags.DEFINE_enum(
  "minimum", "parabola", ["parabola", "akima"], "How the best size of a budget is found; named in the result."
)
_BY = flags.DEFINE_enum(
  "bootstrap_by", "case", ["case", "run", "noise"],
  "What is drawn for Approach 3: rows (case); runs with all their checkpoints (run); residuals, on the same design "
  "(noise), better for a designed ladder, where leaving rows out shifts the draws.",
)  # fmt: skip
_CURVES = flags.DEFINE_list(
  "curves", None, "Training curves (CSV) for Approach 1; left out: the curves.csv beside each run table."
)
_COLUMNS = flags.DEFINE_list("columns", [], "What columns are called: params:NAME,flops:NAME,...")
_CONVENTION = flags.DEFINE_enum(
  "params_convention", None, ["non_embedding", "total", "active"],
  "Which parameters N counts; left out: what the table says, without embeddings in tables of scaling.sweep.",
)  # fmt: skip
_DROP = flags.DEFINE_integer(
  "drop_largest_losses", 0, "Runs left out for their loss; what that changes is printed.", lower_bound=0
)
_OPTIMA = flags.DEFINE_list(
  "optimum_flops", [], "C at which N*, D* and L* are wanted, besides 1 and 10 times the largest budget."
)


def main() -> int:
  if not _RUNS.value:
    raise BadInput("is empty", "--runs", "give run tables (CSV), separated by commas")
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
  columns, asked_optima = _columns(_COLUMNS.value), tuple(map(_compute, _OPTIMA.value))
  out = require_directory(_OUT.value, "--out")
  from scaling import analysis, cautions, curves, fit_report
  from scaling.table import Reading

  tables = [pathlib.Path(p) for p in _RUNS.value]
  given = curves.beside(tables) if _CURVES.value is None else [pathlib.Path(p) for p in _CURVES.value]
  options = analysis.Options(
    Reading(columns, _CONVENTION.value, _BY.value == "run"),
    _DROP.value, tuple(given), _BY.value, _MINIMUM.value, asked_optima,
  )  # fmt: skip
  found = analysis.analyse(tables, _LOSS.value, _BOOTSTRAP.value, _SEED.value, _HOLDOUT.value, options)
  if _FLOPS.value is not None:
    found = analysis.predict(found, out / "prediction.json", _FLOPS.value, _PARAMS.value, _TOKENS.value)
  elif _PREDICTION.value or (out / "prediction.json").exists():
    found = analysis.compare(found, pathlib.Path(_PREDICTION.value or out / "prediction.json"))
  fit_report.write(found, out)
  for rule in found.fitted.rules:
    print(f"table: {rule}")
  for cut in found.cuts:
    values = ", ".join(f"{name} {value:.5g}" for name, value in cut.values.items())
    print(f"without the {cut.dropped} largest losses: {values}")
  for text in cautions.of(found):
    print(f"warning: {text}", file=sys.stderr)
  print(fit_report.summary(found))
  print(out / "report.html")
  return 0


def _columns(pairs: list[str]) -> dict[str, str]:
  """--columns as our name -> theirs."""
  from scaling import table

  made = {}
  for pair in pairs:
    name, colon, theirs = (part.strip() for part in pair.partition(":"))
    if not (colon and theirs):
      raise BadInput(f"{pair!r} is no NAME:THEIR NAME", "--columns", "give params:NAME,flops:NAME,...")
    if name not in table.COLUMNS:
      near = difflib.get_close_matches(name, table.COLUMNS, 1) or list(table.REQUIRED)
      raise BadInput(f"{name!r} is no column of a run table", "--columns", f"did you mean {', '.join(near)}?")
    made[name] = theirs
  return made


def _compute(text: str) -> float:
  try:
    value = float(text)
  except ValueError:
    value = 0.0
  if not 0 < value < float("inf"):
    raise BadInput(f"{text!r} is no positive number", "--optimum_flops", "give FLOPs, separated by commas")
  return value


if __name__ == "__main__":
  program.run(main)
