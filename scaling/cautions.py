"""What a reader of a fit must know before quoting a number."""

import typing

import numpy as np

from scaling import curves
from scaling.fitting import refusals, stability
from scaling.table import Runs

if typing.TYPE_CHECKING:
  from scaling.analysis import Analysis

FEW = 3  # budgets without a minimum, for one reason, are named one by one up to here
MANY = 12  # budgets, from which on sizes are not counted in that reason


def _repeats(runs: Runs) -> list[str]:
  """The laws of Approaches 2 and 3 know no repeated data; up to curves.REPEATED passes there are none."""
  passes = runs.tokens / runs.unique
  many = passes > curves.REPEATED  # never where NaN
  if not many.any():
    return []
  return [
    f"{many.sum()} of {len(runs)} runs read their data more than once, up to {passes[many].max():.3g} times: the law"
    " knows no repeats, and takes repeated tokens for new ones."
  ]


def of(found: "Analysis") -> list[str]:
  """What a reader must know before quoting a number."""
  said = [f"Parametric law: {text}." for text in found.law.warnings]
  said += [f"Parametric law: {r.what}." for n, i in found.profiles.items() if (r := i.refusal(n, ""))]
  said += _apart(found) + _repeats(found.fitted)
  for i in stability.strays(found.law.residuals):
    times, run = np.exp(found.law.residuals[i]), found.fitted.rows[i]["run_id"]
    said.append(
      f"The loss of run {run} is {times:.3g} times what the law says, far beyond the scatter of the others: "
      "is it in nats per token, and did the run converge?"
    )
  if found.envelope is not None:
    said += [f"Training curves: {refusal.what}." for refusal in found.envelope.refusals]
    if len(found.curves) < len(found.fitted):
      said.append(f"Training curves: {len(found.curves)} of {len(found.fitted)} runs have one.")
  edges: dict[str, list[str]] = {}
  for profile in found.iso.profiles:
    if profile.refusal is not None:
      few = isinstance(profile.refusal, refusals.TooFewRuns) and len(found.iso.profiles) > MANY
      edges.setdefault("too few sizes" if few else profile.edge, []).append(f"{profile.flops:.2g}")
  for edge, at in edges.items():
    if len(at) > FEW:
      said.append(f"{len(at)} of {len(found.iso.profiles)} budgets have no interior minimum: {edge}.")
    else:
      said += [f"Budget {flops} FLOPs has no interior minimum: {edge}." for flops in at]
  if len(found.iso.interior) < 3:
    count = len(found.iso.interior)
    said.append(f"{count} interior minima: a line through them has no degree of freedom left to err.")
  checkpoints = len(found.fitted) - len({row["run_id"] for row in found.fitted.rows})
  if checkpoints:
    said.append(
      f"{checkpoints} rows are checkpoints: under a decaying schedule a run ending there reaches less."
    )
  if found.forecast and found.iso.params is not None:
    off = abs(np.log(found.forecast["params"] / found.iso.params(found.forecast["flops"])))
    if off > max(np.abs(np.log(p.runs.params / p.params)).max() for p in found.iso.interior):
      said.append(f"The predicted run is {np.exp(off):.2g} times off N*(C), more than any run of the table.")
  if found.outcome and not found.outcome["written_before"]:
    said.append("Nothing shows that the prediction was written before the run started.")
  return said


def _apart(found: "Analysis") -> list[str]:
  """One warning, of the coefficients whose bootstrap and profile intervals tell two stories."""
  law, by = found.law, found.options.bootstrap_by
  if law.draws is None:
    return []
  way, parts = found.resampling, []
  for name, interval in found.profiles.items():
    drawn = way.interval(getattr(law.draws, name), float(getattr(law.law, name)))
    if drawn is not None and interval.differs(drawn):
      parts.append(f"{name} [{drawn[0]:.3g}, {drawn[1]:.3g}], [{interval.low:.3g}, {interval.high:.3g}]")
  remedy = "" if by == "noise" else "; in a designed ladder draw residuals (--bootstrap_by=noise)"
  return [f"Intervals by {by} bootstrap and by profile differ: {'; '.join(parts)}{remedy}."] if parts else []
