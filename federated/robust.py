"""Aggregates that some of the clients cannot steer: functions for `make_round(aggregate=...)`.

  median            of every coordinate                                             arXiv:1803.01498
  trimmed mean      of every coordinate, its least and greatest values left out     arXiv:1803.01498
  Krum, multi-Krum  the updates that lie nearest to most of the others              arXiv:1703.02757
  centred clipping  v <- v + mean_i (x_i - v) min(1, r / |x_i - v|)                 arXiv:2012.10333
  grouped           any of these over means of a few clients, where honest ones differ   arXiv:2006.09365

Each is (updates [C, ...], weight_C) -> update. A weight says who took part (above 0) and no more: what a client says it
has seen could be a lie, so all count alike. All updates are held at once: memory grows with C.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from data.errors import BadInput
from federated.rounds import Tree

Aggregate = Callable[[Tree, jax.Array], Tree]


def _over(values: jax.Array, like: jax.Array) -> jax.Array:
  """values [C] with the axes of `like` [C, ...]."""
  return values.reshape((-1,) + (1,) * (like.ndim - 1))


def _sorted(updates: jax.Array, here_C: jax.Array) -> jax.Array:
  """Every coordinate in order, those of clients that took no part last, as infinity."""
  return jnp.sort(jnp.where(_over(here_C, updates), updates, jnp.inf), axis=0)


def _mean(updates: Tree, share_C: jax.Array) -> Tree:
  """sum_c share_c x_c; a share of 0 leaves even what is not finite out."""

  def one(x):
    share = _over(share_C, x).astype(x.dtype)
    return jnp.where(share != 0, share * x, 0).sum(0)

  return jax.tree.map(one, updates)


def median(updates: Tree, weight_C: jax.Array) -> Tree:
  """The median of every coordinate over the clients that took part; zero where none did."""
  here_C = weight_C > 0
  count = here_C.sum()

  def one(x):
    ordered = _sorted(x, here_C)
    low, high = (jnp.take(ordered, jnp.maximum(at, 0), axis=0) for at in ((count - 1) // 2, count // 2))
    return jnp.where(count > 0, (low + high) / 2, 0)

  return jax.tree.map(one, updates)


def trimmed_mean(share: float) -> Aggregate:
  """Of the m values of a coordinate, ceil(share m) are left out at either end.

  Raises BadInput unless 0 <= share < 1/2: some must be left.
  """
  if not 0 <= share < 0.5:
    raise BadInput(f"{share:g} of the values at either end", "trimmed mean", "leave out less than half")

  def aggregate(updates: Tree, weight_C: jax.Array) -> Tree:
    here_C = weight_C > 0
    count = here_C.sum()
    # The little less keeps 0.2 * 10 from being rounded up to 3. At least one value stays.
    cut = jnp.clip(jnp.ceil(share * count - 1e-4).astype(count.dtype), 0, jnp.maximum(count - 1, 0) // 2)
    rank_C = jnp.arange(len(weight_C))
    kept_C = (rank_C >= cut) & (rank_C < count - cut)
    share_C = kept_C / jnp.maximum(kept_C.sum(), 1)
    return _mean(jax.tree.map(lambda x: _sorted(x, here_C), updates), share_C)

  return aggregate


def _squared_distances(updates: Tree) -> jax.Array:
  """[C, C]; differences are formed before they are squared, or distant attackers would drown near clients."""
  leaves = [x.reshape(len(x), -1) for x in jax.tree.leaves(updates)]
  return jax.lax.map(
    lambda own: sum(((x - y[None]) ** 2).sum(1) for x, y in zip(leaves, own, strict=True)), leaves
  )


def multi_krum(byzantine: int, keep: int) -> Aggregate:
  """The mean of the `keep` updates of the least sums of squared distances to their m - f - 2 nearest others.

  f = byzantine attackers are withstood by m >= 2 f + 3 clients (Blanchard et al., proposition 1). Of the m that took
  part no more than m - f are kept: whoever was not reached must not make room for an attacker.
  Raises BadInput, when it is first called, for fewer; where fewer took part the update is nothing.
  """
  least = 2 * byzantine + 3

  def aggregate(updates: Tree, weight_C: jax.Array) -> Tree:
    clients = len(weight_C)
    if clients < least or not 1 <= keep <= clients - byzantine:
      what = f"{clients} clients, of whom {byzantine} may be attackers and {keep} are kept"
      remedy = f"draw {least} clients at least, and keep at most those who are none"
      raise BadInput(what, "Krum", remedy)
    here_C = weight_C > 0
    count = here_C.sum()
    apart = jnp.where(here_C[None] & ~jnp.eye(clients, dtype=bool), _squared_distances(updates), jnp.inf)
    near = jnp.arange(clients)[None] < count - byzantine - 2
    score_C = jnp.where(near, jnp.sort(apart, axis=1), 0).sum(1)
    order = jnp.argsort(jnp.where(here_C, score_C, jnp.inf))
    best = jnp.arange(clients) < jnp.minimum(keep, count - byzantine)
    chosen = jnp.zeros(clients, bool).at[order].set(best) & here_C & (count >= least)
    return _mean(updates, chosen / jnp.maximum(chosen.sum(), 1))

  return aggregate


def krum(byzantine: int) -> Aggregate:
  """The one update that multi-Krum would choose first."""
  return multi_krum(byzantine, keep=1)


def centred_clipping(radius: float, iterations: int) -> Aggregate:
  """Starts at the median, as a round knows no earlier aggregate; `radius` is an L2 norm of whole updates."""

  def aggregate(updates: Tree, weight_C: jax.Array) -> Tree:
    here_C = weight_C > 0
    count = jnp.maximum(here_C.sum(), 1)

    def step(centre, _):
      apart = jax.tree.map(lambda x, v: x - v[None], updates, centre)
      squared_C = sum((x**2).reshape(len(x), -1).sum(1) for x in jax.tree.leaves(apart))
      scale_C = jnp.minimum(1.0, radius / jnp.maximum(jnp.sqrt(squared_C), 1e-30))
      moved = _mean(apart, jnp.where(here_C, scale_C, 0.0) / count)
      return jax.tree.map(jnp.add, centre, moved), None

    return jax.lax.scan(step, median(updates, weight_C), length=iterations)[0]

  return aggregate


def grouped(aggregate: Aggregate, size: int, key: jax.Array) -> Aggregate:
  """`aggregate` over the means of groups of `size` clients, drawn by the round's key.

  Means differ less than clients do; but a group with one attacker in it is lost: as many groups may be lost as
  `aggregate` withstands. Clients that took part are dealt first, so that few groups are short of them.
  """

  def of_groups(updates: Tree, weight_C: jax.Array) -> Tree:
    clients = len(weight_C)
    groups = -(-clients // size)
    place_C = jnp.argsort(jnp.where(weight_C > 0, jax.random.uniform(key, (clients,)), jnp.inf))
    # The first of every group, then the second of every group, ...
    own_GxC = jax.nn.one_hot(jnp.argsort(place_C) % groups, groups).T * (weight_C > 0)[None]
    count_G = own_GxC.sum(1)
    share_GxC = own_GxC / jnp.maximum(count_G, 1)[:, None]
    means = jax.vmap(_mean, (None, 0))(updates, share_GxC)
    return aggregate(means, count_G)

  return of_groups
