"""What a design leaves: design.json for machines, the trials for a sweep, a few lines with units for people."""

import dataclasses
from typing import Any

import numpy as np

from scaling.advice import allocation, information, profile_bias, rivals
from scaling.advice.designer import SIDE, TABLE, Design, Limits, Prior
from scaling.advice.family import Family
from scaling.fitting import identifiability, isoflop
from scaling.laws.hoffmann import Law

BEYOND = 10.0  # times the largest budget, where the expected error of the loss is always given


def as_json(
  family: Family, prior: Prior, limits: Limits, criterion: str, design: Design, considered: int, rate: float | None
) -> dict[str, Any]:  # fmt: skip
  """`rate`: training FLOP/s that the machine sustains, for hours; None when unknown.

  Rivals are grids of the same cost. Numbers that are not settled are None.
  """
  points = np.array([BEYOND * design.budgets[-1], limits.target])
  at = [allocation.for_budget(prior.law, family, c) for c in points]

  def expected(params: np.ndarray, tokens: np.ndarray) -> dict[str, Any]:
    asked = np.array([a.params for a in at]), np.array([a.tokens for a in at])
    found = information.expect(prior.law, params, tokens, prior.noise, asked)
    losses = [
      {"flops": float(c), "params": a.params, "tokens": a.tokens, "loss": a.loss, "standard_error": _finite(a.loss * e)}
      for c, a, e in zip(points, at, found.loss_errors, strict=True)
    ]  # fmt: skip
    refused = [r.what for r in identifiability.of_table(params, tokens, 5, TABLE)]
    return {
      "runs": len(params),
      "minima": _minima(family, prior.law, params, tokens),
      "profile_bias": _finite(profile_bias.of(family, prior.law, params, tokens, limits.target)),
      "standard_error": {name: _finite(e) for name, e in found.errors.items()},
      "loss_beyond": losses[0],
      "loss_target": losses[1],
      "condition": _finite(found.condition),
      "refusals": refused,
    }

  trials = [
    {
      "width": int(design.width[i]), "params": float(design.params[i]), "tokens": round(design.tokens[i]),
      "flops": float(design.flops[i]), "seed": int(design.seed[i]), "hours": _hours(design.flops[i], rate),
    }
    for i in range(len(design.params))
  ]  # fmt: skip
  return {
    "asked": dataclasses.asdict(limits) | {"criterion": criterion},
    "prior": {f.name: float(getattr(prior.law, f.name)) for f in dataclasses.fields(Law)}
    | {"noise_sd": prior.noise, "source": prior.source, "draws": len(prior.draws.E)},
    "considered": considered,
    "spread": design.spread,
    "inside": design.inside,
    "budgets": [_budget(design, k, rate) for k in range(len(design.budgets))],
    "cost": {"flops": float(design.flops.sum()), "hours": _hours(design.flops.sum(), rate), "flops_per_second": rate},
    "expected": expected(design.params, design.tokens),
    "rivals": {name: expected(*grid) for name, grid in rivals.all_of(family, prior.law, design).items()},
    "trials": trials,
  }  # fmt: skip


def points(family: Family, design: Design) -> list[dict[str, Any]]:
  """Overrides of each trial, for scaling.sweep --points."""
  runs = zip(design.width, design.flops, design.seed, strict=True)
  return [family.point(int(width), float(flops), int(seed)) for width, flops, seed in runs]


def _budget(design: Design, k: int, rate: float | None) -> dict[str, Any]:
  own = design.budget == k
  ratio = design.tokens[own] / design.params[own]
  return {
    "flops": float(design.budgets[k]),
    "optimal_params": float(design.centres[k]),
    "widths": sorted({int(w) for w in design.width[own]}),
    "runs": int(own.sum()),
    "params": _ends(design.params[own]),
    "tokens": _ends(design.tokens[own]),
    "tokens_per_parameter": _ends(ratio),
    "total_flops": float(design.flops[own].sum()),
    "hours_per_run": _hours(design.budgets[k], rate),
    "hours": _hours(design.flops[own].sum(), rate),
  }


def _minima(family: Family, law: Law, params: np.ndarray, tokens: np.ndarray) -> str:
  """Of how many budgets Approach 2 could see the minimum: SIDE sizes on either side."""
  flops = family.flops_per_nd(params) * params * tokens
  budget = isoflop.budgets(flops)
  seen = 0
  for k in range(budget.max() + 1):
    sizes = np.unique(params[budget == k])
    centre = allocation.for_budget(law, family, float(flops[budget == k].mean())).params
    seen += bool(min((sizes < centre).sum(), (sizes > centre).sum()) >= SIDE)
  return f"{seen} of {budget.max() + 1}"


def summary(made: dict[str, Any]) -> str:
  """The design with units: budgets, cost, what it would settle, and what other grids of its cost would."""
  prior, asked, cost = made["prior"], made["asked"], made["cost"]
  law = f"E {prior['E']:.4g} nats, A {prior['A']:.4g}, B {prior['B']:.4g}, alpha {prior['alpha']:.3g}"
  lines = [
    f"prior: {law}, beta {prior['beta']:.3g} ({prior['source']}); runs scatter by {prior['noise_sd']:.2%} in loss",
    f"best of {made['considered']} ladders by the {asked['criterion']} criterion, sizes within {made['spread']:g} "
    f"times of N*; N* inside the sizes of every budget in {made['inside']:.0%} of the prior's draws",
    f"{'C (FLOPs)':>10} {'N* (params)':>11} {'runs':>4} {'N (params)':>19} {'D (tokens)':>21} {'D/N':>13} "
    f"{'h a run':>8}  widths",
  ]
  for b in made["budgets"]:
    spans = f"{_span(b['params']):>19} {_span(b['tokens']):>21} {_span(b['tokens_per_parameter']):>13}"
    widths = " ".join(map(str, b["widths"]))
    lines.append(
      f"{b['flops']:10.3g} {b['optimal_params']:11.4g} {b['runs']:4} {spans} {_clock(b['hours_per_run'])}  {widths}"
    )
  hours = "hours unknown: give --flops_per_second" if cost["hours"] is None else f"{cost['hours']:.3g} h"
  lines.append(f"cost: {len(made['trials'])} runs, {cost['flops']:.4g} FLOPs, {hours}, one after the other")
  beyond, target = (made["expected"][name] for name in ("loss_beyond", "loss_target"))
  lines += [
    f"expected standard errors (least squares of ln loss; huber and lad up to a quarter more), condition "
    f"{made['expected']['condition']:.3g}:",
    f"{'':14} {'runs':>4} {'minima':>7} {'N* off':>7} {'alpha':>8} {'beta':>8} {'a':>8} {'E (nats)':>9} "
    f"{'loss at ' + format(beyond['flops'], '.3g'):>17} {'at ' + format(target['flops'], '.3g') + ' FLOPs':>18}",
    _errors("this design", made["expected"]),
    *(_errors(name, rival) for name, rival in made["rivals"].items()),
  ]
  lines.append(
    f"minima: budgets with {SIDE} sizes on either side of N*; N* off: what their parabolas, without noise, say of N* "
    f"at {target['flops']:.3g} FLOPs over what the law says"
  )
  return "\n".join(lines)


def _errors(name: str, found: dict[str, Any]) -> str:
  values = found["standard_error"]
  if found["refusals"]:
    return f"{name:14} {found['runs']:4} settles nothing: {found['refusals'][0]}"
  cells = " ".join(f"{_number(values[key]):>8}" for key in ("alpha", "beta", "a"))
  off = "-" if found["profile_bias"] is None else f"{np.expm1(found['profile_bias']):+.1%}"
  beyond, target = (_number(found[name]["standard_error"]) for name in ("loss_beyond", "loss_target"))
  settled = f"{found['runs']:4} {found['minima']:>7} {off:>7} {cells} {_number(values['E']):>9}"
  return f"{name:14} {settled} {beyond:>17} {target:>18}"


def _number(value: float | None) -> str:
  return "-" if value is None else f"{value:.3g}"


def _span(ends: list[float]) -> str:
  return f"{ends[0]:.4g} to {ends[1]:.4g}"


def _clock(hours: float | None) -> str:
  return f"{'-' if hours is None else format(hours, '.3g'):>8}"


def _ends(values: np.ndarray) -> list[float]:
  return [float(values.min()), float(values.max())]


def _hours(flops: float, rate: float | None) -> float | None:
  return None if rate is None else float(flops) / rate / 3600


def _finite(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None
