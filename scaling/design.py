"""Which runs settle a law best: python -m scaling.design --config=F.py[:variant] --budget_flops=C --out=DIR.

Spends C on an IsoFLOP ladder whose budgets, sizes and seeds make the fitted law most certain, given what is expected:
an earlier fit (--fit=fit.json), or a guess (--prior=E,A,B,alpha,beta). Prints budgets, sizes, cost and the expected
standard errors, beside those of grids that people run at the same cost; leaves DIR/design.json, and DIR/points.json
for scaling.sweep --points. --dry_run prints only.
"""

from absl import flags

from data.errors import BadInput
from data.files import require_directory, write_json_atomic
from experiments import program

_CONFIG = program.define_config()
_FLOPS = flags.DEFINE_float("budget_flops", None, "FLOPs to spend on the whole ladder.", required=True)
_OUT = flags.DEFINE_string("out", "", "Directory for design.json and points.json.")
_FIT = flags.DEFINE_string("fit", "", "fit.json of an earlier ladder: what is expected, and how sure it is.")
_PRIOR = flags.DEFINE_list("prior", [], "E,A,B,alpha,beta to expect when there is no earlier fit.")
_NOISE = flags.DEFINE_float(
  "noise_sd", None, "Standard deviation of ln loss between runs that differ by seed."
)
_SMALLEST = flags.DEFINE_float(
  "smallest_budget",
  None,
  "FLOPs that no run falls below; left out: the smallest run of --fit, or a thousandth of C.",
)
_TARGET = flags.DEFINE_float(
  "target_flops", None, "C of the run whose loss is to be predicted; left out: 10 times --budget_flops."
)
_CRITERION = flags.DEFINE_enum(
  "criterion", "loss", ["loss", "exponents", "determinant"],
  "What is made certain: the loss at --target_flops, alpha and beta, or all five coefficients together.",
)  # fmt: skip
_UNIQUE = flags.DEFINE_float(
  "unique_tokens", None, "Tokens that no run exceeds, when the dataset is not here."
)
_RATE = flags.DEFINE_float(
  "flops_per_second", None, "Training FLOP/s that the machine sustains, for the hours."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the design and stop.")


def main() -> int:
  from ml_collections import config_flags

  values = program.config_dict(_CONFIG)
  guess = _checked()
  out = require_directory(_OUT.value or ".", "--out")
  config_file = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[0]

  from scaling.advice import data_at_hand, design_report, designer, family, fitted

  flops = _FLOPS.value
  if guess is None:
    fit = fitted.read(_FIT.value)
    prior, smallest = designer.from_fit(fit, _NOISE.value), fit.ranges["flops"][0]
  else:
    coefficients, noise = guess
    prior, smallest = designer.from_guess(coefficients, noise), flops / 1000
  unique = data_at_hand.read(values["data"], _UNIQUE.value).unique
  limits = designer.Limits(flops, _SMALLEST.value or smallest, unique, _TARGET.value or 10 * flops)
  members = family.load(config_file)
  design, considered = designer.best(members, prior, limits, _CRITERION.value)
  made = design_report.as_json(members, prior, limits, _CRITERION.value, design, considered, _RATE.value)
  print(design_report.summary(made))
  if _DRY_RUN.value:
    return 0
  out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(out / "points.json", design_report.points(members, design))
  write_json_atomic(out / "design.json", made)
  print(out / "design.json")
  return 0


def _checked() -> tuple[list[float], float] | None:
  """The guessed law and noise, None with an earlier fit; raises BadInput for flags that say too much or too little."""
  from scaling.advice.compute import positive

  if not _OUT.value and not _DRY_RUN.value:
    raise BadInput("is missing", "--out", "say where design.json goes, or ask for --dry_run")
  for flag in (_FLOPS, _NOISE, _SMALLEST, _TARGET, _UNIQUE, _RATE):
    if flag.value is not None:
      positive(f"--{flag.name}", flag.value)
  if bool(_FIT.value) == bool(_PRIOR.value):
    what = "say two different things" if _FIT.value else "are both missing"
    raise BadInput(what, "--fit and --prior", "give one: a design needs to know where to look")
  if _FIT.value:
    return None
  if _NOISE.value is None:
    raise BadInput(
      "is missing", "--noise_sd", "say how runs scatter, as 0.005 for half a percent of the loss"
    )
  try:
    numbers = [float(part) for part in _PRIOR.value]
  except ValueError:
    numbers = []
  if len(numbers) != 5 or not all(0 < n < float("inf") for n in numbers):
    remedy = "give five positive numbers: E,A,B,alpha,beta"
    raise BadInput(f"is {','.join(_PRIOR.value)!r}", "--prior", remedy)
  return numbers, _NOISE.value


if __name__ == "__main__":
  program.run(main)
