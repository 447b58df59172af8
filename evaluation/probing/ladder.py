"""The probe ladder: linear, nearest neighbours, few shots, another domain, the same place; each with its floors.

Every rung is scored on test clips whose scenes the fit never saw, for the trained features and for those of the
same model at random initialisation, beside the trivial level (mean or majority of the training clips):

  of a quantity   1 - sum |y - prediction|^2 / sum |y - training mean|^2      trivial level 0
  of a class      accuracy                                                    trivial level: majority

with 95 % intervals over scenes (evaluation/intervals.py); `margin` is trained less random, on the same draws.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from data.errors import BadInput
from evaluation.intervals import Draws, draw_scenes, interval
from evaluation.probing import probes, retrieval
from evaluation.probing.targets import Target

NEIGHBOURS, SHOTS, RECALL_AT = 10, (1, 5, 10), (1, 5)
_LEAST = 8  # clips, for training and for testing, below which a probe says nothing


@dataclasses.dataclass(frozen=True)
class Side:
  """The clips of one side of the split: features by name ("trained", "random") [N, D], targets, scene and domain;
  place_Nx2 only where clips have one."""

  features: Mapping[str, np.ndarray]
  targets: Mapping[str, Target]
  scene_N: np.ndarray
  domain_N: np.ndarray
  place_Nx2: np.ndarray | None


def ladder(train: Side, test: Side, domains: tuple[str, ...], draws: int, seed: int) -> dict[str, Any]:
  """Everything of probe.json that follows from features: {"linear", "neighbours", "few_shot", "transfer", "place"}.

  Raises BadInput when a scene is on both sides, or too few clips are on one.
  """
  probes.require_apart(train.scene_N, test.scene_N)
  for name, side in (("training", train), ("test", test)):
    if len(side.scene_N) < _LEAST:
      raise BadInput(f"{len(side.scene_N)} {name} clips", "the probe", f"give {_LEAST} at least")
  result: dict[str, Any] = {name: {} for name in ("linear", "neighbours", "few_shot", "transfer")}
  result["left_out"] = {}
  for name, target in train.targets.items():
    pair = _Pair.of(train, test, name)
    if why := pair.refusal():
      result["left_out"][name] = why
      continue
    drawn = draw_scenes(test.scene_N[pair.asked], draws, seed)
    result["linear"][name] = pair.scores(_linear, drawn)
    if target.is_class:
      result["neighbours"][name] = pair.scores(_neighbours, drawn)
      result["few_shot"][name] = pair.shots(draws, seed)
    if name != "domain":
      result["transfer"][name] = _transfer(train, test, name, domains, draws, seed)
  if test.place_Nx2 is not None:
    result["place"] = place(test, draws, seed)
  return result


def linear_scores(train: Side, test: Side) -> dict[str, float]:
  """The linear score of "trained" features by target, without intervals, and recall@1 as "place": for a schedule."""
  probes.require_apart(train.scene_N, test.scene_N)
  found = {}
  for name in train.targets:
    pair = _Pair.of(train, test, name)
    if not pair.refusal():
      found[name] = pair.scores(_linear, draw_scenes(test.scene_N[pair.asked], 0, 0))["trained"]["score"]
  if test.place_Nx2 is not None:
    match = retrieval.matches(test.place_Nx2, test.scene_N)
    if match.any():
      found["place"] = float(retrieval.recall(test.features["trained"], match, (1,)).found_QxK.mean())
  return found


def errors(train: Side, test: Side, name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """What the linear score of a target lacks, clip by clip: ({features: error_N}, worst_N), of all test clips.

  1 - score = sum error / sum worst; both are zero where the target cannot be asked. Raises BadInput for a target that
  is not there, or of which nothing can be asked.
  """
  probes.require_apart(train.scene_N, test.scene_N)
  if name not in train.targets:
    raise BadInput(f"no target {name!r}", "the probe", f"choose one of {', '.join(train.targets)}")
  pair = _Pair.of(train, test, name)
  if why := pair.refusal():
    raise BadInput(f"{name} is {why}", "the probe", "choose another target")
  found, worst_N = {}, np.zeros(len(test.scene_N))
  for kind in train.features:
    over, worst_N[pair.asked] = pair.credit(_linear, kind)
    found[kind] = np.zeros(len(test.scene_N))
    found[kind][pair.asked] = worst_N[pair.asked] - over
  return found, worst_N


@dataclasses.dataclass(frozen=True)
class _Pair:
  """One target on both sides, restricted to clips of which it can be asked (fit, asked: bool [N])."""

  train: Side
  test: Side
  fit: np.ndarray
  asked: np.ndarray
  truth: Target
  answer: Target

  @classmethod
  def of(cls, train: Side, test: Side, name: str, fit=True, asked=True) -> "_Pair":
    truth, answer = train.targets[name], test.targets[name]
    return cls(train, test, truth.known_N & fit, answer.known_N & asked, truth, answer)

  def refusal(self) -> str:
    """Why nothing can be asked; "" when it can."""
    known = self.truth.values[self.fit]
    if min(self.fit.sum(), self.asked.sum()) < _LEAST:
      return f"known of {self.fit.sum()} training and {self.asked.sum()} test clips only"
    if len(np.unique(self.train.scene_N[self.fit])) == 1:
      return "known of a single training scene"
    if np.ptp(known, axis=0).max() == 0:
      return "the same in all training clips"
    if not self.truth.is_class and np.ptp(self.answer.values[self.asked], axis=0).max() == 0:
      return "the same in all test clips"
    return ""

  def credit(self, method, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The score's numerator and denominator, clip by clip, of one kind of features."""
    known, wanted = self.truth.values[self.fit], self.answer.values[self.asked]
    x, query = self.train.features[kind][self.fit], self.test.features[kind][self.asked]
    predicted = method(x, self.truth, known, self.train.scene_N[self.fit], query)
    return _credit(predicted, known, wanted, self.truth.is_class)

  def scores(self, method, drawn: Draws) -> dict[str, Any]:
    """`method` on every kind of features, and the trivial level."""
    known, wanted = self.truth.values[self.fit], self.answer.values[self.asked]
    made: dict[str, Any] = {}
    ratios: dict[str, np.ndarray] = {}
    for kind in self.train.features:
      over, under = self.credit(method, kind)
      ratios[kind] = drawn.ratio(over, under)
      made[kind] = {"score": float(over.sum() / under.sum()), "ci95": interval(ratios[kind])}
    trivial = float((wanted == np.bincount(known).argmax()).mean()) if self.truth.is_class else 0.0
    result = made | {"trivial": trivial, "clips": int(self.asked.sum()), "scenes": drawn.counts_RxS.shape[1]}
    if {"trained", "random"} <= ratios.keys():
      margin = made["trained"]["score"] - made["random"]["score"]
      result["margin"] = {"score": margin, "ci95": interval(ratios["trained"] - ratios["random"])}
    return result

  def shots(self, draws: int, seed: int) -> dict[str, Any]:
    """Accuracy by number of shots; its interval is over the draws of the shots."""
    result: dict[str, Any] = {}
    for shots in SHOTS:
      for kind in self.train.features:
        x, query = self.train.features[kind][self.fit], self.test.features[kind][self.asked]
        known, wanted = self.truth.values[self.fit], self.answer.values[self.asked]
        found = probes.few_shot(x, known, query, wanted, shots, draws, seed)
        if found is not None:
          result.setdefault(str(shots), {})[kind] = {"score": float(found.mean()), "ci95": interval(found)}
    return result


def _linear(x, truth: Target, known, scene, query) -> np.ndarray:
  """Predictions: outputs [M, K], or classes [M]."""
  if truth.is_class:
    outputs = probes.linear_probe(x, probes.one_hot(known, len(truth.names)), scene)(query)
    return outputs.argmax(-1)
  return probes.linear_probe(x, known, scene)(query)


def _neighbours(x, truth: Target, known, scene, query) -> np.ndarray:
  return probes.nearest_neighbours(x, known, query, len(truth.names), NEIGHBOURS)


def _credit(predicted, known, wanted, is_class: bool) -> tuple[np.ndarray, np.ndarray]:
  """The score's numerator and denominator, clip by clip."""
  if is_class:
    return (predicted == wanted).astype(np.float64), np.ones(len(wanted))
  worst = ((wanted - known.mean(0)) ** 2).sum(-1)
  return worst - ((wanted - predicted) ** 2).sum(-1), worst


def _transfer(train: Side, test: Side, name: str, domains, draws: int, seed: int) -> dict[str, Any]:
  """Leave one domain out: fitted on all others ("zero_shot") and on all ("with_it"), scored on that domain."""
  result = {}
  for index in np.unique(test.domain_N):
    here = test.domain_N == index
    without = _Pair.of(train, test, name, train.domain_N != index, here)
    if without.refusal():
      continue
    drawn = draw_scenes(test.scene_N[without.asked], draws, seed)
    result[domains[index]] = {
      "zero_shot": without.scores(_linear, drawn),
      "with_it": _Pair.of(train, test, name, True, here).scores(_linear, drawn),
    }
  return result


def place(side: Side, draws: int, seed: int) -> dict[str, Any]:
  """Place recognition among the test clips: recall@k of each kind of features, and of a random ranking."""
  assert side.place_Nx2 is not None
  match = retrieval.matches(side.place_Nx2, side.scene_N)
  result: dict[str, Any] = {"asked": int(match.any(-1).sum()), "clips": len(match)}
  if not result["asked"]:
    return result
  drawn = draw_scenes(side.scene_N[match.any(-1)], draws, seed)
  for kind, features in side.features.items():
    found = retrieval.recall(features, match, RECALL_AT)
    for i, k in enumerate(RECALL_AT):
      hits, ones = found.found_QxK[:, i].astype(float), np.ones(len(found.query_Q))
      score = {"score": float(hits.mean()), "ci95": interval(drawn.ratio(hits, ones))}
      result.setdefault(f"recall@{k}", {"chance": float(found.random_QxK[:, i].mean())})[kind] = score
  return result
