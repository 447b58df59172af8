"""Ladders of the real model family with losses of a known law, and what scaling.fit leaves of them."""

import pathlib

import numpy as np

from data.files import write_json_atomic, write_text_atomic
from experiments.configs import isoflop
from scaling import analysis, fit_json
from scaling.advice import allocation, designer, family
from scaling.advice.family import Family
from scaling.laws.hoffmann import Law
from tests.scaling.surface import DRIVING, write

LAW = Law(DRIVING.E, DRIVING.A, DRIVING.B, DRIVING.alpha, DRIVING.beta)
BUDGETS = 1e11 * 4.0 ** np.arange(4)
CONFIG = "experiments/configs/motion_ladder.py"


def motion() -> Family:
  return family.of(isoflop)


def six(members: Family) -> Family:
  """The family as if C = 6 N D, for closed forms."""
  return Family(members.widths, members.params, 6 * members.params, members.point)


def rows(members: Family, law: Law, noise: float, seed: int = 0, budgets=BUDGETS) -> list[dict]:
  """Profiles of five sizes within four times of N*, two seeds each; `noise` is the sd of ln L."""
  rng = np.random.default_rng(seed)
  centres = np.array([allocation.for_budget(law, members, c).params for c in budgets])
  design = designer.profiles(members, budgets, centres, 7, 4.0, 2)
  assert design is not None
  made = []
  for i, (params, tokens, flops) in enumerate(zip(design.params, design.tokens, design.flops, strict=True)):
    loss = law.loss(params, tokens) * np.exp(noise * rng.standard_normal())
    made.append({"run_id": f"run{i}", "params": params, "tokens": tokens, "flops": flops, "loss": loss})
  return made


def fit(
  out: pathlib.Path, members: Family, law: Law = LAW, noise: float = 0.003, draws: int = 200
) -> pathlib.Path:
  """fit.json with draws.csv beside it, as scaling.fit writes them."""
  found = analysis.analyse([write(out / "runs.csv", rows(members, law, noise))], "mse", draws, 0, 0)
  text = analysis.draws_csv(found)
  if text is not None:
    write_text_atomic(out / fit_json.DRAWS, text)
  write_json_atomic(out / "fit.json", analysis.as_json(found))
  return out / "fit.json"
