"""Asynchronous federated learning on a simulated clock: FedBuff.

`concurrent` vehicles train at any time, each from the server's parameters at the moment it began. What arrives goes
into a buffer; a full one is one server step, by the update

  sum_i n_i (1 + s_i)^-1/2 d_i / sum_i n_i,   n_i what i's objective counts, s_i how many server steps it is behind.

Nobody waits for the slowest. Updates that are not finite, or too long, are rejected as in federated/rounds.py.
J. Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation", arXiv:2106.06639.
"""

import heapq
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from federated.rounds import Algorithm, Tree, norm


class Arrival(NamedTuple):
  """seconds: of the simulated clock. vehicle: who. stale: server steps since it began. updates: accepted so far.

  rejected: whether this one was not. server: after this arrival. stepped: whether the buffer was full.
  """

  seconds: float
  vehicle: int
  stale: int
  updates: int
  rejected: bool
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
  longest: float,
  heaviest: float,
  rng: np.random.Generator,
  key: jax.Array,
) -> Iterator[Arrival]:
  """Endless arrivals, in the order of the clock.

  Args:
    take: (vehicle, how often it was asked before) -> (batches [K, ...], real_K). seconds: of a vehicle's turn.
    concurrent: vehicles that train at a time, no vehicle twice. size: of the buffer.
    longest, heaviest: as in make_round.

  Raises ValueError for more concurrent vehicles than there are, and for algorithms whose clients remember.
  """
  if concurrent > vehicles:
    raise ValueError(f"{concurrent} vehicles at a time of {vehicles}")
  if jax.tree.leaves(algorithm.memory_init(server["params"])):
    raise ValueError("clients that remember what the server was cannot be asynchronous")

  @jax.jit
  def train(server, batches, real, key):
    update, _, metrics = algorithm.client(server, {}, batches, real, key)
    return update, norm(update), metrics["objective"][1]

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
  held: list[tuple[Tree, float, float]] = []
  updates = 0
  while True:
    clock, order, vehicle, began, seen = heapq.heappop(running)
    batches, real = take(vehicle, int(asked[vehicle]))
    asked[vehicle] += 1
    update, length, count = train(seen, batches, real, jax.random.fold_in(key, order))
    stale, rejected = version - began, not length <= longest  # which is true of what is not finite
    if not rejected:
      held.append((update, min(float(count), heaviest), (1 + stale) ** -0.5))
      updates += 1
    stepped = len(held) == size
    if stepped:
      server = step(server, _mean(held), jnp.float32(size / vehicles))
      version += 1
      held = []
    idle.append(vehicle)
    yield Arrival(clock, vehicle, stale, updates, rejected, server, stepped)
    begin()


def _mean(held: list[tuple[Tree, float, float]]) -> Any:
  total = sum(weight for _, weight, _ in held)
  shares = [weight * discount / total for _, weight, discount in held]
  return jax.tree.map(
    lambda *parts: sum(map(operator.mul, shares, parts)), *(update for update, _, _ in held)
  )
