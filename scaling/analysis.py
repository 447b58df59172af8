"""Everything a fit says about one run table: the approaches, their stability, the forecast, and what came of it."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.errors import BadInput
from data.files import sha256
from scaling import cautions, curves, fit_json, table
from scaling.fitting import (  # fmt: skip
  bootstrap,
  envelope,
  isoflop,
  optima,
  parametric,
  prediction,
  refusals,
  stability,
)
from scaling.fitting.envelope import Curve, Envelope
from scaling.fitting.isoflop import IsoFlop
from scaling.fitting.optima import Optimum
from scaling.fitting.prediction import finite
from scaling.fitting.profile import Interval
from scaling.fitting.stability import Cut, LeftOut, Window
from scaling.laws.hoffmann import Law
from scaling.table import Reading, Runs

SAME_RUN = 0.1  # a held-out run is the predicted one when its N and D are this near, in ln
BEYOND = (1.0, 10.0)  # times the largest budget where optima are given, besides those asked for


@dataclasses.dataclass(frozen=True)
class Options:
  """What may be asked of a fit besides its table.

  Attributes:
    reading: how the table is to be read. drop: how many of the largest losses are left out.
    curves: CSVs of training curves (`curves.py`) for Approach 1.
    bootstrap_by: resamples of Approach 3: "case" draws rows, "run" draws runs with all their rows, "noise" draws
      residuals anew on the same design.
    minimum: how minima of profiles are found, of `isoflop.METHODS`.
    optima: C at which N*, D* and L* are wanted.
  """

  reading: Reading = dataclasses.field(default_factory=Reading)
  drop: int = 0
  curves: tuple[pathlib.Path, ...] = ()
  bootstrap_by: str = bootstrap.KINDS[0]
  minimum: str = "parabola"
  optima: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Analysis:
  """Attributes:
  fitted, held_out: rows the laws see, and rows they do not. kind: loss of the parametric fit.
  iso, law: Approaches 2 and 3; what `law` may not be quoted for is in its refusals.
  errors: root-mean-square errors in ln L of the roll-out, by estimator.
  envelope, curves, curves_sha256: Approach 1, None and empty when there are no training curves.
  left_out, drift: what becomes of the law without each budget, and over windows of budgets.
  cuts: what becomes of it with other numbers of the largest losses left out; empty when none are.
  profiles: profile-likelihood intervals of E, A, B, alpha, beta and a; empty when nothing is settled.
  optima: N*, D* and L* at some C, by approach.
  forecast: what prediction.json holds. outcome: how it compares with the run, `inside_ci95` among the rest.
  """

  fitted: Runs
  held_out: Runs
  kind: str
  seed: int
  iso: IsoFlop
  law: parametric.Fit
  errors: dict[str, float]
  options: Options = dataclasses.field(default_factory=Options)
  envelope: Envelope | None = None
  curves: tuple[Curve, ...] = ()
  curves_sha256: tuple[str, ...] = ()
  left_out: tuple[LeftOut, ...] = ()
  drift: tuple[Window, ...] = ()
  cuts: tuple[Cut, ...] = ()
  profiles: dict[str, Interval] = dataclasses.field(default_factory=dict)
  optima: dict[str, tuple[Optimum, ...]] = dataclasses.field(default_factory=dict)
  forecast: dict[str, Any] | None = None
  outcome: dict[str, Any] | None = None

  @property
  def resampling(self) -> bootstrap.Resampling:
    """What the draws of Approach 3 are from."""
    return resampling(self.fitted, self.options.bootstrap_by)

  @property
  def settled(self) -> bool:
    """Whether the table settles the coefficients of Approach 3 at all."""
    return not stability.unsettled(self.fitted, parametric.TABLE)


def analyse(
  paths: Sequence[pathlib.Path], kind: str, draws: int, seed: int, holdout: int, options: Options = Options()
) -> Analysis:
  """Reads the tables and fits all approaches to all but the `holdout` largest budgets.

  Raises BadInput for a bad table, or one with too few runs or budgets; a Refusal, which is one, when no approach
  stands.
  """
  whole = table.read_many(paths, options.reading)
  runs = table.drop_largest_losses(whole, options.drop)
  budget = isoflop.budgets(runs.flops)
  if holdout > budget.max():
    what = f"{budget.max() + 1} budgets leave none after holding out {holdout}"
    raise BadInput(what, paths[0], "hold out fewer, or add runs")
  kept = budget <= budget.max() - holdout
  fitted = runs.where(kept)
  if len(fitted) <= parametric.PARAMETERS:
    what = f"{len(fitted)} runs cannot settle {parametric.PARAMETERS} coefficients"
    raise BadInput(what, paths[0], "run more sizes and budgets, at least three of each")
  iso = isoflop.fit(fitted, draws, seed, options.minimum)
  made_of = curves.read(options.curves, fitted) if options.curves else ()
  upper = envelope.fit(made_of, draws, seed) if made_of else None
  if upper is not None:
    upper = dataclasses.replace(upper, refusals=upper.refusals + curves.conditions(made_of, fitted))
  unsettled = stability.unsettled(fitted, parametric.TABLE)
  if unsettled and iso.params is None and (upper is None or upper.size is None):
    refusals.require(unsettled)
  law = parametric.fit(fitted.params, fitted.tokens, fitted.loss, kind)
  if draws:
    law = dataclasses.replace(law, draws=resample(law, fitted, options.bootstrap_by, draws, seed))
  settled, way = not unsettled, resampling(fitted, options.bootstrap_by)
  largest = float(fitted.flops[isoflop.budgets(fitted.flops) == budget[kept].max()].mean())
  at = tuple(dict.fromkeys((*(largest * times for times in BEYOND), *options.optima)))
  return Analysis(
    fitted, runs.where(~kept), kind, seed, iso, law, prediction.roll_out(fitted, iso, kind), options,
    envelope=upper, curves=made_of, curves_sha256=tuple(sha256(path) for path in options.curves),
    left_out=stability.leave_one_out(fitted, iso, kind), drift=stability.drift(fitted, iso, kind),
    cuts=stability.cuts(whole.where(whole.flops <= fitted.flops.max()), options.drop, kind) if options.drop else (),
    profiles=parametric.intervals(law, fitted.params, fitted.tokens, fitted.loss) if settled else {},
    optima={
      "approach2": tuple(o for flops in at if (o := optima.by_profiles(iso, flops))),
      "approach3": tuple(optima.by_law(law.law, law.draws, fitted, flops, way) for flops in at) if settled else (),
    },
  )  # fmt: skip


def resampling(runs: Runs, by: str) -> bootstrap.Resampling:
  """What the draws of Approach 3 are from; `by` of bootstrap.KINDS."""
  count = len({row["run_id"] for row in runs.rows}) if by == "run" else len(runs)
  return bootstrap.Resampling(count, parametric.PARAMETERS, by)


def resample(law: parametric.Fit, runs: Runs, by: str, draws: int, seed: int) -> Law:
  """The law of every resample; `by` of bootstrap.KINDS."""
  weights = losses = None
  if by == "case":
    weights = bootstrap.case_weights(len(runs), draws, seed)
  elif by == "run":
    weights = bootstrap.cluster_weights([row["run_id"] for row in runs.rows], draws, seed)
  else:
    fitted = np.log(law.law.loss(runs.params, runs.tokens))
    redrawn = bootstrap.redrawn(fitted, law.residuals, parametric.PARAMETERS, draws, seed)
    losses = np.exp(redrawn)
  return parametric.resample(law, runs.params, runs.tokens, runs.loss, weights, losses)


def predict(
  found: Analysis, path: pathlib.Path, flops: float, params: float | None, tokens: float | None
) -> Analysis:
  """Writes what a run of C = `flops` will reach; at N*(C), D*(C) unless `params` and `tokens` are given.

  Raises BadInput for a run that lies within the table, or cannot be one of its model.
  """
  if params is None or tokens is None:
    if found.iso.params is None or found.iso.tokens is None:
      remedy = "give --predict_params and --predict_tokens, or widen the sizes of the sweep"
      raise BadInput(
        "N*(C) needs two budgets with an interior minimum", found.fitted.rows[0]["run_id"], remedy
      )
    params = float(found.iso.params(flops))
    tokens = flops / float(optima.flops_per_nd(found.fitted, params) * params)
  target = prediction.Target(params, tokens, flops)
  prediction.require_larger(found.fitted, target)
  made = prediction.forecast(
    found.fitted, found.iso, found.law, found.errors, target, found.seed, found.resampling
  )
  return dataclasses.replace(found, forecast=prediction.write(path, made))


def compare(found: Analysis, path: pathlib.Path) -> Analysis:
  """Adds the forecast written earlier and, when its run is held out, in one seed or several, what became of it.

  Raises BadInput for a forecast from other rows than the fitted ones, or of another run than the held-out ones.
  """
  earlier = prediction.read(path)
  if earlier["rows_sha256"] != found.fitted.rows_sha256():
    remedy = "hold out the predicted run (--holdout_budgets=1), or choose another --out or --prediction"
    raise BadInput("was made from other rows than the ones fitted here", path, remedy)
  found = dataclasses.replace(found, forecast=earlier)
  if not len(found.held_out):
    return found
  away = np.hypot(
    np.log(found.held_out.params / earlier["params"]), np.log(found.held_out.tokens / earlier["tokens"])
  )
  if away.min() > SAME_RUN:
    what = f"predicts N = {earlier['params']:.4g}, D = {earlier['tokens']:.4g}, which no held-out run has"
    raise BadInput(what, path, "hold out the predicted run, or give another --out")
  outcome = prediction.judge(earlier, found.held_out.where(away <= SAME_RUN).rows)
  return dataclasses.replace(found, outcome=outcome)


def draws_csv(found: Analysis) -> str | None:
  """The text of draws.csv; None without draws."""
  return fit_json.draws_csv(found.law, found.iso, found.envelope)


def as_json(found: Analysis) -> dict[str, Any]:
  """fit.json; see DESIGN of the repository for its keys. None marks what the table cannot say."""
  way = found.resampling
  return fit_json.table(found.fitted) | {
    "approach1": fit_json.approach1(found.envelope, len(found.curves), found.curves_sha256),
    "approach2": fit_json.approach2(found.iso),
    "approach3": fit_json.approach3(found.law, found.settled, found.profiles, way),
    "bootstrap_draws": 0 if found.law.draws is None else len(found.law.draws.E),
    "drift": [dataclasses.asdict(window) for window in found.drift],
    "draws": fit_json.draws(draws_csv(found), way, found.seed),
    "left_out": [dataclasses.asdict(left) for left in found.left_out],
    "loss": found.kind,
    "noise_sd": finite(found.iso.noise),
    "optimum": [
      {"flops": flops} | {name: _at(found.optima[name], flops) for name in found.optima}
      for flops in dict.fromkeys(o.flops for known in found.optima.values() for o in known)
    ],
    "outcome": found.outcome,
    "prediction": found.forecast,
    "roll_out_error": {name: finite(value) for name, value in found.errors.items()},
    "sensitivity": [dataclasses.asdict(cut) for cut in found.cuts],
    "warnings": cautions.of(found),
  }


def _at(known: Sequence[Optimum], flops: float) -> dict[str, Any] | None:
  return next((optimum.as_json() for optimum in known if optimum.flops == flops), None)
