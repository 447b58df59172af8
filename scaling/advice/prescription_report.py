"""What a prescription leaves: prescription.json for machines, a few lines with units for people."""

import shlex
from collections.abc import Callable
from typing import Any

import numpy as np

from scaling.advice import allocation, prescription
from scaling.advice.allocation import Allocation
from scaling.advice.compute import Compute
from scaling.advice.data_at_hand import Data
from scaling.advice.family import Family
from scaling.advice.fitted import Fitted
from scaling.advice.prescription import Choice, Wish
from scaling.fitting import bootstrap

COST = "share of the FLOPs"
NAMES = {"params": "N*", "tokens": "D*", "loss": "loss"}
AXES = {"flops": "C", "params": "N", "tokens": "D"}


def as_json(
  fitted: Fitted, family: Family, wish: Wish, compute: Compute | None, data: Data, seed: int
) -> dict[str, Any]:
  """All of it but the command; raises BadInput as `prescription.optimum` does."""
  best, drawn = prescription.optimum(fitted, family, wish)
  found = prescription.choices(fitted, family, wish, best, data, seed)
  taken = found[0]
  sd, interval = prescription.one_run(fitted, taken, seed)
  lines = None if wish.inference_tokens else prescription.by_lines(fitted, best.flops)
  made: dict[str, Any] = {
    "asked": {
      "flops": wish.flops, "loss": wish.loss, "inference_tokens": wish.inference_tokens or None,
      "source": compute.source if compute else None, "bound": bool(compute and compute.bound),
    },
    "fit": fitted.about | {"draws": len(fitted.draws.E)},
    "approach3": _approach(
      {n: (getattr(best, n), getattr(drawn, n)) for n in (*NAMES, "flops")}, fitted.resampling.interval
    ),
    "approach2": _approach(lines, lambda drawn, _: bootstrap.interval(drawn)) if lines else None,
    "disagreement": _disagreement(fitted, best, drawn, lines) if lines else None,
    "extrapolation": _extrapolation(fitted, taken),
    "config": _choice(taken) | {"ci95": interval, "sd_of_ln_loss": sd},
    "alternatives": [_choice(other) for other in found[1:]],
    "penalty_unit": COST if wish.inference_tokens or wish.flops is None else "nats per token",
    "life": _life(fitted, family, wish, best) if wish.inference_tokens else None,
    "data": prescription.repeats(fitted, taken, data),
  }  # fmt: skip
  return made | {"warnings": _warnings(fitted, family, wish, compute, taken, made)}


def _approach(values: dict[str, tuple[float, np.ndarray]], interval: Callable) -> dict[str, Any]:
  points = {name: float(value) for name, (value, _) in values.items()}
  return points | {
    "ci95": {name: interval(np.atleast_1d(d), points[name]) for name, (_, d) in values.items()}
  }


def _disagreement(fitted: Fitted, best: Allocation, drawn: Allocation, lines: dict) -> dict[str, Any]:
  """Approach 2's N* over Approach 3's, whether their intervals meet, and what following it costs by the law."""
  size, spread = lines["params"]
  mine = fitted.resampling.interval(np.atleast_1d(drawn.params), float(best.params))
  other = bootstrap.interval(spread)
  meet = None if mine is None or other is None else mine[0] <= other[1] and other[0] <= mine[1]
  tokens = best.params * best.tokens / size
  loss = float(fitted.law.loss(size, tokens))
  return {
    "params_ratio": size / best.params,
    "intervals_meet": meet,
    "penalty": loss - best.loss,
    "loss_difference": lines["loss"][0] - best.loss,
  }


def _extrapolation(fitted: Fitted, taken: Choice) -> dict[str, Any]:
  over, under = prescription.reach(fitted, taken)
  far = max(*over.values(), *under.values()) > prescription.FAR
  return over | {"under_smallest": under, "limit": prescription.FAR, "beyond": far}


def _choice(choice: Choice) -> dict[str, Any]:
  names = ("width", "params", "tokens", "steps", "flops", "loss", "penalty", "point")
  return {name: getattr(choice, name) for name in names}


def _life(fitted: Fitted, family: Family, wish: Wish, best: Allocation) -> dict[str, Any]:
  """The cost over the model's life, beside that of the compute-optimal model of the same loss."""

  def cost(one: Allocation) -> dict[str, float]:
    served = float(allocation.inference_flops(family, one.params, wish.inference_tokens))
    return {"params": one.params, "tokens": one.tokens, "training": one.flops, "inference": served}

  own = cost(best)
  usual = cost(allocation.for_loss(fitted.law, family, best.loss, 0.0))
  own_total, usual_total = (one["training"] + one["inference"] for one in (own, usual))
  return own | {"total": own_total, "compute_optimal": usual, "saving": 1 - own_total / usual_total}


def _warnings(
  fitted: Fitted, family: Family, wish: Wish, compute: Compute | None, taken: Choice, made: dict[str, Any]
) -> list[str]:
  """What to know before the command is run; the one about extrapolation first."""
  said = []
  far = made["extrapolation"]
  if far["beyond"]:
    if max(far[n] for n in AXES) > far["limit"]:
      side, times = "beyond the table's largest run", far
    else:
      side, times = "below the table's smallest run", far["under_smallest"]
    what = ", ".join(f"{times[n]:.3g} times in {unit}" for n, unit in AXES.items())
    said.append(f"EXTRAPOLATION {side}, {what}: nobody has tested the law so far out")
  if compute and compute.bound:
    said.append("the compute rests on an upper bound of the MFU, no expectation: no slice can do more")
  if compute and compute.planned and not 0.5 < compute.planned / taken.params < 2:
    said.append(f"the MFU is that of a model of N = {compute.planned:.3g}, not of N = {taken.params:.3g}")
  if other := prescription.other_count(fitted, family):
    said.append(other)
  if made["approach3"]["params"] < 1.01 * family.params[0]:
    said.append("N* is the smallest model of the family: the budget may be too small for it")
  if made["approach3"]["params"] > 0.99 * family.params[-1]:
    said.append("N* is the largest model of the family: the budget may be too large for it")
  if made["approach2"] is None and not wish.inference_tokens:
    said.append("the profiles of the table have no line: Approach 2 says nothing")
  if made["config"]["ci95"] is None:
    said.append("too many draws have no answer for an interval")
  data = made["data"]
  if data["unique_tokens"] and data["passes"] > 1 and data["penalty"] is None:
    said.append(
      f"D is {data['passes']:.2f} passes over the data and the law knows no repeats: expect more loss, or give "
      "--repetition=R_D,R_N"
    )
  if not data["unique_tokens"]:
    said.append(
      "the dataset is not here: D is not rounded to its batches, and how often it repeats is unknown"
    )
  return said + [f"the fit says: {text}" for text in fitted.warnings]


def command(config: str, overrides: dict[str, Any], workdir: str) -> list[str]:
  """The training command of a config file with these overrides, as flags that are read back as the same values."""

  def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

  changed = [f"--config.{key}={text(value)}" for key, value in overrides.items()]
  return ["python", "-m", "experiments.train", f"--config={config}", *changed, f"--workdir={workdir}"]


def summary(made: dict[str, Any], argv: list[str]) -> str:
  """The answer, with units; a warning of extrapolation is the first line."""
  fit, asked, taken, data = made["fit"], made["asked"], made["config"], made["data"]
  first = [f"WARNING: {text}" for text in made["warnings"] if made["extrapolation"]["beyond"]][:1]
  kind, digest = fit["loss"], fit["table_sha256"][:12]
  lines = [
    *first,
    f"law of {fit['n_runs']} runs ({kind}, table {digest}), {fit['draws']} draws, intervals 95%",
  ]
  wanted = [f"C = {asked['flops']:.4g} FLOPs ({asked['source']})"] if asked["flops"] else []
  wanted += [f"loss {asked['loss']:.4f} nats per token"] if asked["loss"] else []
  wanted += [f"{asked['inference_tokens']:.4g} tokens at inference"] if asked["inference_tokens"] else []
  lines.append("asked: " + ", ".join(wanted))
  for name, title in (("approach3", "Approach 3, parametric"), ("approach2", "Approach 2, profiles")):
    if made[name]:
      lines.append(f"{title}: {_optimum(made[name])}")
  if off := made["disagreement"]:
    meet = {True: "intervals meet", False: "intervals do not meet", None: "without intervals"}[
      off["intervals_meet"]
    ]
    lines.append(
      f"they disagree by {off['params_ratio']:.2f} times in N* ({meet}); by the parametric law Approach 2's N* costs "
      f"{off['penalty']:+.5f} nats per token; their losses differ by {off['loss_difference']:+.4f}"
    )
  if life := made["life"]:
    usual = life["compute_optimal"]
    if asked["flops"]:
      lines.append(
        f"the budget only set the loss: training takes {life['training'] / asked['flops']:.3g} times as much compute"
      )
    lines.append(
      f"life: training {life['training']:.4g} + inference {life['inference']:.4g} = {life['total']:.4g} FLOPs; the "
      f"compute-optimal model of this loss (N = {usual['params']:.4g}) takes "
      f"{usual['training'] + usual['inference']:.4g}: {life['saving']:.1%} saved"
    )
  far = made["extrapolation"]
  lines.append(
    f"over the table's largest run: {far['flops']:.3g} times in C, {far['params']:.3g} in N, {far['tokens']:.3g} in D"
  )
  if max(far["under_smallest"].values()) > 1:
    under = ", ".join(f"{far['under_smallest'][name]:.3g} in {unit}" for name, unit in AXES.items())
    lines.append(f"under the table's smallest run, times: {under}")
  steps = f" = {taken['steps']:,} steps" if taken["steps"] else ""
  lines.append(
    f"config: width {taken['width']}, N = {taken['params']:,.0f} parameters without embeddings, D = "
    f"{taken['tokens']:,} tokens{steps}, C = {taken['flops']:.4g} FLOPs"
  )
  others = "".join(f"; width {o['width']}: {_penalty(made, o)}" for o in made["alternatives"])
  lines.append(
    f"  expected loss of one run {_range(taken['loss'], taken['ci95'])} nats per token; rounding costs "
    f"{_penalty(made, taken)}{others}"
  )
  if data["unique_tokens"]:
    cost = (
      "" if data["penalty"] is None else f", which costs {data['penalty']:+.4f} nats per token by its law"
    )
    lines.append(f"data: {data['passes']:.2f} passes over {data['unique_tokens']:,.0f} unique tokens{cost}")
  lines += [f"warning: {text}" for text in made["warnings"][len(first) :]]
  return "\n".join([*lines, "run it:", "  " + shlex.join(argv)])


def _optimum(values: dict[str, Any]) -> str:
  units = {"params": "parameters", "tokens": "tokens", "loss": "nats per token"}
  parts = [f"{NAMES[n]} = {_range(values[n], values['ci95'][n])} {unit}" for n, unit in units.items()]
  if "flops" in values and (values["ci95"]["flops"] or [0, 0])[0] != (values["ci95"]["flops"] or [0, 0])[1]:
    parts.append(f"training C = {_range(values['flops'], values['ci95']['flops'])} FLOPs")
  return ", ".join(parts)


def _range(value: float, interval: list[float] | None) -> str:
  return f"{value:.4g} " + (
    "[no interval]" if interval is None else f"[{interval[0]:.4g}, {interval[1]:.4g}]"
  )


def _penalty(made: dict[str, Any], choice: dict[str, Any]) -> str:
  of_cost = made["penalty_unit"] == COST
  return f"{choice['penalty']:+.2%} of the FLOPs" if of_cost else f"{choice['penalty']:+.5f} nats per token"
