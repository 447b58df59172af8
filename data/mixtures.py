"""In which order a split is read: natural frequency, temperature, rare cases oftener, old records among new ones.

An order is endless and a pure function of the position in it: at(position) is a record. Whoever knows the number of
records consumed knows what comes next, whatever the number of processes (data/reader.py).

  share of cell c  =  n_c^(1/T) / sum n^(1/T),  times the boosts of the slices it lies in, normalised

T = 1 is the natural frequency, T -> infinity gives every cell the same share (A. Conneau et al., arXiv:1911.02116).
Shares are met exactly: an epoch has as many positions as there are records, divided by largest remainder.

A record's weight is how often it would be read at natural frequency, over how often it is: sums weighed by it are
those of the natural order, and its mean over what is read is 1. M. Sugiyama et al., "Covariate Shift Adaptation by
Importance Weighted Cross Validation", JMLR 8, 2007.
"""

import fractions
import functools
from typing import Protocol

import numpy as np

from data.errors import BadInput
from data.slices import Labels, Names, known_axis, members

_SHUFFLE, _MEMBERS = 1, 2  # streams of random numbers that must differ


class Order(Protocol):
  """Attributes: records: how many different records it reads."""

  records: int

  def at(self, positions: np.ndarray) -> np.ndarray:
    """Record of each position [N], int64."""
    ...

  def weights(self, positions: np.ndarray) -> np.ndarray:
    """Natural over sampled frequency of the record of each position [N], float32."""
    ...


class Natural:
  """Every record of `chosen` [N] once in each epoch, in a new order."""

  def __init__(self, chosen: np.ndarray, seed: int):
    self._chosen, self.records = chosen, len(chosen)
    self._order = functools.lru_cache(2)(  # reads ahead lie on both sides of an epoch's end
      lambda epoch: np.random.default_rng([seed, epoch]).permutation(len(chosen))
    )

  def at(self, positions: np.ndarray) -> np.ndarray:
    return self._chosen[_by_epoch(self._order, positions, self.records)]

  def weights(self, positions: np.ndarray) -> np.ndarray:
    return np.ones(len(positions), np.float32)


class Weighted:
  """Groups of records in given shares of every epoch; inside a group all records equally often, to one.

  Args:
    group_N: group of each record. share_G: of each group, any scale; 0 leaves its records out.
    chosen_N: their indices in the source.

  Attributes: natural_G, sampled_G: records of each group in the split and in an epoch.

  Raises BadInput when a group with a share is too rare for a single position of an epoch.
  """

  def __init__(self, group_N: np.ndarray, share_G: np.ndarray, seed: int, chosen_N: np.ndarray):
    self._seed = seed
    self._members = [chosen_N[group_N == g] for g in range(len(share_G))]
    self.natural_G = np.array([len(members) for members in self._members])
    used_G = (share_G > 0) & (self.natural_G > 0)
    self.records = int(self.natural_G[used_G].sum())
    self.sampled_G = quotas(np.where(used_G, share_G, 0.0), self.records)
    if starved := np.flatnonzero(used_G & (self.sampled_G == 0)).tolist():
      what = (
        f"group {starved[0]} of {self.natural_G[starved[0]]} records gets none of an epoch's {self.records}"
      )
      raise BadInput(what, "mixture", "lower the boosts")
    self._order = functools.lru_cache(2)(self._epoch)
    self._weight = np.zeros(int(chosen_N.max()) + 1, np.float32)  # of every index in the source
    self._weight[chosen_N] = (self.natural_G / np.maximum(self.sampled_G, 1))[group_N]

  def at(self, positions: np.ndarray) -> np.ndarray:
    return _by_epoch(self._order, positions, self.records)

  def weights(self, positions: np.ndarray) -> np.ndarray:
    return self._weight[self.at(positions)]

  def _epoch(self, epoch: int) -> np.ndarray:
    parts = [
      self._stretch(g, epoch * quota, quota) for g, quota in enumerate(self.sampled_G.tolist()) if quota
    ]
    return np.random.default_rng([self._seed, epoch, 0, _SHUFFLE]).permutation(np.concatenate(parts))

  def _stretch(self, group: int, start: int, length: int) -> np.ndarray:
    """`length` records of the group's own endless order, in which each pass holds every member once."""
    members, places = self._members[group], np.arange(start, start + length)

    def order(turn: int) -> np.ndarray:
      return np.random.default_rng([self._seed, turn, group, _MEMBERS]).permutation(len(members))

    return members[_by_epoch(order, places, len(members))]


class Replayed:
  """`old` records among `fresh` ones: any stretch holds the share of them, to one record.

  D. Rolnick et al., "Experience Replay for Continual Learning", arXiv:1811.11682.
  """

  def __init__(self, fresh: Order, old: Order, share: float):
    self._fresh, self._old = fresh, old
    self._share = fractions.Fraction(share).limit_denominator(10_000)
    if not 0 < self._share < 1:
      raise BadInput(f"replay share is {share}", "mixture", "choose one between 0 and 1")
    self.records = fresh.records + old.records

  def at(self, positions: np.ndarray) -> np.ndarray:
    is_old, before = self._cut(positions)
    found = np.empty(len(positions), np.int64)
    found[is_old] = self._old.at(before[is_old])
    found[~is_old] = self._fresh.at((positions - before)[~is_old])
    return found

  def weights(self, positions: np.ndarray) -> np.ndarray:
    is_old, before = self._cut(positions)
    natural, share = self._old.records / self.records, float(self._share)
    found = np.empty(len(positions), np.float32)
    found[is_old] = natural / share * self._old.weights(before[is_old])
    found[~is_old] = (1 - natural) / (1 - share) * self._fresh.weights((positions - before)[~is_old])
    return found

  def _cut(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each position [N] holds an old record, and how many old records come before it."""
    top, bottom = self._share.numerator, self._share.denominator
    before = positions * top // bottom
    return (positions + 1) * top // bottom > before, before


def mixed(
  labels: Labels,
  names: Names,
  *,
  only: str,
  axes: str,
  temperature: float,
  boosts: str,
  replay: str,
  replay_share: float,
  seed: int,
) -> Order:
  """The order that a configuration's mixture means (experiments/config.py) for records with these labels.

  Temperature and boosts apply to what is not replayed; old records come at natural frequency among themselves.
  """
  count = len(next(iter(labels.values())))
  fresh_N = members(only, labels, names) if only else np.ones(count, bool)
  if bool(replay) != (replay_share > 0):
    raise BadInput(f"replay {replay!r} with share {replay_share}", "mixture", "give both, or neither")
  if replay:
    old_N = members(replay, labels, names)
    fresh_N &= ~old_N
    if not fresh_N.any():
      raise BadInput(f"all of only={only!r} is replayed", "mixture", "choose another slice to replay")
  group_N, share_G = groups(
    {axis: label[fresh_N] for axis, label in labels.items()}, names, axes, temperature, boosts
  )
  chosen = np.flatnonzero(fresh_N)
  fresh = Natural(chosen, seed) if len(share_G) == 1 else Weighted(group_N, share_G, seed, chosen)
  return Replayed(fresh, Natural(np.flatnonzero(old_N), seed), replay_share) if replay else fresh


def quotas(share_G: np.ndarray, total: int) -> np.ndarray:
  """Whole numbers [G] that sum to `total`, in the given shares, by largest remainder; ties go to the first."""
  exact = total * np.asarray(share_G, np.float64) / share_G.sum()
  whole = np.floor(exact).astype(np.int64)
  remainders = np.where(np.asarray(share_G) > 0, exact - whole, -1.0)
  whole[np.argsort(-remainders, kind="stable")[: total - whole.sum()]] += 1
  return whole


def groups(
  labels: Labels, names: Names, axes: str, temperature: float, boosts: str
) -> tuple[np.ndarray, np.ndarray]:
  """(group of each record [N], share of each group [G]): what differs in cell or in boosts is another group.

  Args:
    axes: "domain,weather": cells are their combinations; "": one cell.
    boosts: "rare=1*4;domain=apron|campus*2": slices and by how much oftener their records come.
  """
  cells = [labels[axis] for axis in _axes(axes, labels)]
  factors = [_boost(text, labels, names) for text in boosts.split(";") if text.strip()]
  count = len(next(iter(labels.values())))
  cell_N = _numbered(cells, count)
  boost_N = np.prod([np.where(inside, factor, 1.0) for inside, factor in factors], axis=0) * np.ones(count)
  group_N = _numbered([cell_N, boost_N], count)
  first_G = np.unique(group_N, return_index=True)[1]
  in_cell, in_group = np.bincount(cell_N), np.bincount(group_N)
  tempered = in_cell ** (1.0 / temperature)
  share_G = tempered[cell_N[first_G]] * in_group / in_cell[cell_N[first_G]] * boost_N[first_G]
  return group_N, share_G / share_G.sum()


def _axes(text: str, labels: Labels) -> list[str]:
  axes = [axis.strip() for axis in text.split(",") if axis.strip()]
  for axis in axes:
    known_axis(axis, labels, f"mixture axes {text!r}")
  return axes


def _boost(text: str, labels: Labels, names: Names) -> tuple[np.ndarray, float]:
  part, star, factor = text.rpartition("*")
  try:
    value = float(factor)
  except ValueError:
    value = 0.0
  if not star or not 0 < value < np.inf:
    raise BadInput(f"{text.strip()!r} is no slice*factor", "mixture boosts", "write as in rare=1*4")
  return members(part, labels, names), value


def _numbered(columns: list[np.ndarray], count: int) -> np.ndarray:
  """A number for each record [N]: the same where all columns agree."""
  if not columns:
    return np.zeros(count, np.int64)
  return np.unique(np.stack(columns, -1), axis=0, return_inverse=True)[1].reshape(-1)


def _by_epoch(order, positions: np.ndarray, length: int) -> np.ndarray:
  """order(epoch)[place] of every position, in an endless row of epochs of `length`."""
  epochs, places = np.divmod(positions, length)
  found = np.empty(len(positions), np.int64)
  for epoch in np.unique(epochs):
    found[epochs == epoch] = order(int(epoch))[places[epochs == epoch]]
  return found
