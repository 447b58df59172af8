"""Held-out logs as a stream of records, and what a run makes of each: the same for whoever is compared.

A record is a piece of a scene: what was driven until now, then what was driven after it. Scenes come in an order of
their own (`interleaved`), the records of each in the order of its log. A run is scored against that log, the human
driver of every agent:

  nats       of the logged moves, each given the log before it, a mean over the record's moves
  away_m     from the log to the run's likeliest future, a mean over the agents and the steps
  hits       share of agents whose likeliest future ends within 2 m of the log (evaluation/metrics/displacement.py)

Futures are judged at the steps of the tokens. The log itself has away_m 0 and hits 1.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from data.schema import Scene
from data.windows import WindowConfig
from evaluation.forecasting.cases import Cases, NobodyThroughout, crop, make_cases, sound
from evaluation.forecasting.rollout import make_roll_out, prepare
from evaluation.metrics import displacement

_TOGETHER = 16  # windows at once: one compiled shape


@dataclasses.dataclass(frozen=True)
class Record:
  """A piece of scene number `unit`, from `begin_s` on in it; `scene` holds the piece alone, `cases` its windows."""

  unit: int
  begin_s: float
  scene: Scene
  cases: Cases


@dataclasses.dataclass(frozen=True)
class Scores:
  """Of N records, float64: means over each, as above; and futures [N] of its windows' slots, m, [B, A, F, 2]."""

  nats_N: np.ndarray
  away_N: np.ndarray
  hits_N: np.ndarray
  futures: list[np.ndarray]


def stream(
  scenes: Iterable[Scene], window: WindowConfig, observed_s: float, horizon_s: float
) -> tuple[list[Record], int, Counter[str]]:
  """The records of all scenes, how many pieces hold no agent that is logged throughout, and what was wrong with logs
  (evaluation/forecasting/cases.py): such agents are in no record.

  Raises BadInput as `make_cases`, and when there are no records.
  """
  records: list[Record] = []
  empty, faults = 0, Counter[str]()
  for unit, scene in enumerate(scenes):
    length = round((observed_s + horizon_s) / scene.metadata.dt)
    for start in range(0, len(scene.valid_TxA) - length, length):
      piece, broken = sound(crop(scene, start, start + length + 1))
      faults += broken
      try:
        cases = make_cases([piece], window, observed_s, horizon_s, 1)
      except NobodyThroughout:
        empty += 1
      else:
        records.append(Record(unit, start * scene.metadata.dt, piece, cases))
  if not records:
    raise NobodyThroughout(observed_s + horizon_s)
  return records, empty, faults


def interleaved(records: list[Record], seed: int) -> list[Record]:
  """The records with their scenes drawn in another order, each domain spread evenly over all of it.

  Datasets hold one domain after another: whoever decides before the end would have seen none of the last ones. The
  order is drawn without regard to scores. That domains take turns only lowers the evidence of noise: where the mean of
  their means is not above 0, the product of their factors is not above 1.
  """
  rng = np.random.default_rng(seed)
  domains = {record.unit: record.scene.metadata.domain for record in records}
  place: dict[int, float] = {}
  for domain in sorted(set(domains.values())):
    own = rng.permutation([unit for unit, name in domains.items() if name == domain])
    place |= dict(zip(own.tolist(), (np.arange(len(own)) + rng.random()) / len(own), strict=True))
  return sorted(records, key=lambda record: (place[record.unit], record.unit, record.begin_s))


def score(apply: Callable, weights: dict, to_batch: Callable, dt: float, records: list[Record]) -> Scores:
  """What a motion model makes of every record. `apply({"params": weights}, batch)` gives logits [B, T, A, V]."""
  sizes = [len(record.cases.scored_BxA) for record in records]
  first, edges = records[0].cases, np.cumsum(sizes)[:-1]
  windows = {name: np.concatenate([r.cases.windows[name] for r in records]) for name in first.windows}
  roll_out = make_roll_out(apply, first.observed, first.steps, dt, greedy=True)
  nats = _make_nats(apply)
  sums, counts, futures = [], [], []
  for start in range(0, sum(sizes), _TOGETHER):
    rows = np.arange(start, start + _TOGETHER).clip(
      max=sum(sizes) - 1
    )  # the last chunk repeats its last window
    chosen = {name: value[rows] for name, value in windows.items()}
    sum_B, count_B = nats(weights, to_batch(chosen))
    states = roll_out(weights, prepare(chosen, to_batch, first.observed), jax.random.key(0))
    sums.append(np.asarray(sum_B, np.float64))
    counts.append(np.asarray(count_B, np.float64))
    futures.append(np.asarray(states[..., :2], np.float64))
  sum_N, count_N = (
    np.array([part.sum() for part in np.split(np.concatenate(values)[: sum(sizes)], edges)])
    for values in (sums, counts)
  )
  placed = [
    in_scene(record.cases, part)
    for record, part in zip(records, np.split(np.concatenate(futures)[: sum(sizes)], edges), strict=True)
  ]
  judged = [_displacement(record.cases, future) for record, future in zip(records, placed, strict=True)]
  away_N, hits_N = np.array(judged).T
  return Scores(sum_N / np.maximum(count_N, 1), away_N, hits_N, placed)


def in_scene(cases: Cases, states_BxAxFx2: np.ndarray) -> np.ndarray:
  """Futures [B, A, F, 2] in the scene's frame, from roll-outs [B, A, F + 1, 2] that begin with the last step observed.

  They are shifted to start at the last logged position, which the tokens only approximate.
  """
  position = cases.to_scene(states_BxAxFx2)
  shift = cases.history_BxHxAx2[:, -1, :, None] - position[..., :1, :]
  return (position + shift)[..., 1:, :]


def truth(cases: Cases) -> np.ndarray:
  """float [B, A, F, 2] m: the log at the steps of the tokens."""
  return np.asarray(cases.truth_BxAxNx2[:, :, cases.stride - 1 :: cases.stride], np.float64)


def apart(cases: Cases, one_BxAxFx2: np.ndarray, other_BxAxFx2: np.ndarray) -> np.ndarray:
  """[B, A] m: mean distance of two futures of each agent, -1 for slots that do not count."""
  away = np.hypot(*np.moveaxis(one_BxAxFx2 - other_BxAxFx2, -1, 0)).mean(-1)
  return np.where(cases.scored_BxA, away, -1.0)


def _displacement(cases: Cases, future_BxAxFx2: np.ndarray) -> tuple[float, float]:
  """away_m and hits of one record."""
  logged, counts = truth(cases), cases.scored_BxA
  end = np.hypot(*np.moveaxis(future_BxAxFx2[..., -1, :] - logged[..., -1, :], -1, 0))
  return float(apart(cases, future_BxAxFx2, logged)[counts].mean()), float(
    (end[counts] <= displacement.MISS_DISTANCE).mean()
  )


def _make_nats(apply: Callable) -> Callable:
  """nats(weights, batch) -> their sum and count [B], over the moves that are supervised."""

  @jax.jit
  def nats(weights, batch):
    logits = apply({"params": weights}, batch).astype(jnp.float32)
    tokens = batch["tokens_BxTxA"].astype(jnp.int32)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], -1)[..., 0]
    counts = batch["mask_BxTxA"]
    return -jnp.where(counts, chosen, 0.0).sum((1, 2)), counts.sum((1, 2))

  return nats
