"""Asynchronous federated learning on a simulated clock: FedBuff.

`concurrent` vehicles train at any time, each from the server's parameters at the moment it began. What arrives goes
into a buffer, discounted by how many server steps it is behind, (1 + s)^-1/2; a full buffer is one server step. Nobody
waits for the slowest. J. Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation", arXiv:2106.06639.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from federated.rounds import Algorithm, Tree


class Arrival(NamedTuple):
  """seconds: of the simulated clock. vehicle: who. stale: server steps since it began. updates: arrived so far.

  server: after this arrival. stepped: whether the buffer was full.
  """

  seconds: float
  vehicle: int
  stale: int
  updates: int
  server: dict
  stepped: bool


def buffered(
  algorithm: Algorithm,
  server: dict,
  take: Callable[[int, int], tuple[Tree, jax.Array]],
  seconds: Callable[[int], float],
  vehicles: int,
  concurrent: int,
  size: int,
  rng: np.random.Generator,
  key: jax.Array,
) -> Iterator[Arrival]:
  """Endless arrivals, in the order of the clock.

  Args:
    take: (vehicle, how often it was asked before) -> (batches [K, ...], real_K). seconds: of a vehicle's turn.
    concurrent: vehicles that train at a time, no vehicle twice. size: of the buffer.

  Raises ValueError for more concurrent vehicles than there are, and for algorithms whose clients remember.
  """
  if concurrent > vehicles:
    raise ValueError(f"{concurrent} vehicles at a time of {vehicles}")
  if jax.tree.leaves(algorithm.memory_init(server["params"])):
    raise ValueError("clients that remember what the server was cannot be asynchronous")
  train = jax.jit(lambda server, batches, real, key: algorithm.client(server, {}, batches, real, key)[::2])
  step = jax.jit(algorithm.server_step)
  clock, version, number = 0.0, 0, 0
  running: list[tuple[float, int, int, int, dict]] = []
  asked = np.zeros(vehicles, int)
  idle = list(range(vehicles))

  def begin() -> None:
    nonlocal number
    vehicle = idle.pop(int(rng.integers(len(idle))))
    heapq.heappush(running, (clock + seconds(vehicle), number, vehicle, version, server))
    number += 1

  for _ in range(concurrent):
    begin()
  held: list[tuple[Tree, float]] = []
  updates = 0
  while True:
    clock, order, vehicle, began, seen = heapq.heappop(running)
    batches, real = take(vehicle, int(asked[vehicle]))
    asked[vehicle] += 1
    update, metrics = train(seen, batches, real, jax.random.fold_in(key, order))
    stale = version - began
    held.append((update, float(metrics["objective"][1]) * (1 + stale) ** -0.5))
    updates += 1
    stepped = len(held) == size
    if stepped:
      server = step(server, _mean(held), jnp.float32(size / vehicles))
      version += 1
      held = []
    idle.append(vehicle)
    yield Arrival(clock, vehicle, stale, updates, server, stepped)
    begin()


def _mean(held: list[tuple[Tree, float]]) -> Any:
  total = sum(weight for _, weight in held)
  return jax.tree.map(lambda *parts: sum(part * (w / total) for part, (_, w) in zip(parts, held, strict=True)), *(
    update for update, _ in held
  ))  # fmt: skip
