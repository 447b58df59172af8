"""A fleet: which vehicle holds which records, how fast it computes and sends, how often it can be reached.

A vehicle holds whole scenes: the records of a scene never lie in two vehicles. Vehicles differ as the logs do (by
domain, weather, rig: any axes of the records) or, as in textbooks, by shares drawn from a Dirichlet distribution over
vehicles, class by class (M. Yurochkin et al., arXiv:1905.12022).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Fleet:
  """V vehicles.

  records: indices of what each holds. home_V: index of its cell; cells: what the cells are.
  steps_per_second_V: local steps. up_V, down_V: link, bytes per second. reached_V: probability that it can take part.
  """

  records: tuple[np.ndarray, ...]
  home_V: np.ndarray
  cells: tuple[dict[str, int], ...]
  steps_per_second_V: np.ndarray
  up_V: np.ndarray
  down_V: np.ndarray
  reached_V: np.ndarray

  @property
  def vehicles(self) -> int:
    return len(self.records)


@dataclasses.dataclass(frozen=True)
class Hardware:
  """Medians over the fleet, and how far vehicles spread: log-normal with this deviation of the logarithm."""

  steps_per_second: float
  up: float
  down: float
  spread: float
  reached: float


def by_metadata(labels: Mapping[str, np.ndarray], axes: Sequence[str], vehicles: int, seed: int) -> list:
  """[(cell, records)] for each vehicle: a vehicle lives in one cell of the axes and holds some of its scenes.

  Cells have vehicles in proportion to their scenes, at least one each.
  Raises BadInput for fewer vehicles than cells, or fewer scenes in a cell than vehicles.
  """
  scenes, of_record = np.unique(labels["scene"], return_inverse=True)
  first = np.array([np.flatnonzero(of_record == k)[0] for k in range(len(scenes))])
  rows = np.stack([labels[axis][first] for axis in axes], 1)
  cells, home = np.unique(rows, axis=0, return_inverse=True)
  home = home.reshape(-1)
  counts = np.bincount(home)
  if vehicles < len(cells):
    what = f"{vehicles} vehicles for {len(cells)} kinds of {', '.join(axes)}"
    raise BadInput(what, "fleet.vehicles", f"raise it to {len(cells)} at least, or name fewer axes")
  if vehicles > len(scenes):
    what = f"{vehicles} vehicles and {len(scenes)} scenes: some would have no data"
    raise BadInput(what, "fleet.vehicles", f"lower it to {len(scenes)} at most, or build more scenes")
  places = _shared_out(counts, vehicles)
  rng = np.random.default_rng([seed, 1])
  made = []
  for cell, (own, count) in enumerate(zip(cells, places, strict=True)):
    dealt = rng.permutation(np.flatnonzero(home == cell))
    named = dict(zip(axes, (int(value) for value in own), strict=True))
    for part in np.array_split(dealt, count):
      made.append((named, np.flatnonzero(np.isin(of_record, part))))
  return made


def _shared_out(counts: np.ndarray, total: int) -> np.ndarray:
  """`total` places for cells of these counts: one each, the rest by largest remainder, never more than the count."""
  places = np.ones(len(counts), int)
  while places.sum() < total:
    want = np.where(places < counts, counts / counts.sum() * total - places, -np.inf)
    places[int(np.argmax(want))] += 1
  return places


def dirichlet(labels: Mapping[str, np.ndarray], axis: str, alpha: float, vehicles: int, seed: int) -> list:
  """[(cell, records)]: shares of each value of an axis drawn from Dirichlet(alpha), scene by scene.

  Raises BadInput when a vehicle ends without data.
  """
  scenes, of_record = np.unique(labels["scene"], return_inverse=True)
  kind = np.array([labels[axis][of_record == k][0] for k in range(len(scenes))])
  rng = np.random.default_rng([seed, 2])
  owner = np.empty(len(scenes), int)
  for value in np.unique(kind):
    own = rng.permutation(np.flatnonzero(kind == value))
    cuts = (np.cumsum(rng.dirichlet(np.full(vehicles, alpha)))[:-1] * len(own)).round().astype(int)
    for vehicle, part in enumerate(np.split(own, cuts)):
      owner[part] = vehicle
  empty = sorted(set(range(vehicles)) - set(owner.tolist()))
  if empty:
    what = f"{len(empty)} of {vehicles} vehicles have no data at alpha {alpha:g}"
    raise BadInput(what, "fleet.alpha", "raise it, lower fleet.vehicles, or build more scenes")
  return [({}, np.flatnonzero(owner[of_record] == vehicle)) for vehicle in range(vehicles)]


def assemble(made: list, labels: Mapping[str, np.ndarray], hardware: Hardware, seed: int) -> Fleet:
  """The fleet of a partition; raises BadInput for a vehicle without data and for a scene in two vehicles."""
  holder: dict[int, int] = {}
  for vehicle, (_, own) in enumerate(made):
    if not len(own):
      raise BadInput("has no data", f"vehicle {vehicle}", "deal scenes anew")
    for scene in np.unique(labels["scene"][own]).tolist():
      if holder.setdefault(scene, vehicle) != vehicle:
        what = f"scene {scene} lies in vehicles {holder[scene]} and {vehicle}"
        raise BadInput(what, "the partition", "deal whole scenes")
  cells = list({tuple(cell.items()): cell for cell, _ in made}.values())
  rng, v = np.random.default_rng([seed, 3]), len(made)

  def drawn(median: float) -> np.ndarray:
    return median * np.exp(hardware.spread * rng.normal(size=v))

  return Fleet(
    tuple(own for _, own in made),
    np.array([cells.index(cell) for cell, _ in made]),
    tuple(cells),
    drawn(hardware.steps_per_second),
    drawn(hardware.up),
    drawn(hardware.down),
    np.full(v, hardware.reached),
  )
