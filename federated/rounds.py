"""A round of federated learning as one pure function: clients train, what they send is averaged, the server moves.

Clients are run `lanes` at a time, vmapped, one set after the other in a scan: memory grows with the lanes, not with the
clients. On a mesh every device has its share of the clients, and only sums travel between devices. Updates that are not
finite, or longer than `longest`, count nothing and are counted: nobody's vehicle is trusted with the average.

B. McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", arXiv:1602.05629.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, PartitionSpec

Tree = Any
Metrics = dict[str, tuple[jax.Array, jax.Array]]
# What becomes of an update on its way: (update, what was kept of earlier ones, key) -> (as it arrives, what is kept)
Transmit = Callable[[Tree, Tree, jax.Array], tuple[Tree, Tree]]


@dataclasses.dataclass(frozen=True)
class Algorithm:
  """What client and server do; see federated/algorithms.py.

  server_init: params -> server, a dict with "params". memory_init: params -> what one client keeps between rounds.
  client: (server, memory, batches [K, ...], real_K, key) -> (update, memory, metrics): K local steps at most.
  server_step: (server, mean update, share of the fleet that took part) -> server.
  """

  server_init: Callable[[Tree], dict]
  memory_init: Callable[[Tree], Tree]
  client: Callable[[dict, Tree, Tree, jax.Array, jax.Array], tuple[Tree, Tree, Metrics]]
  server_step: Callable[[dict, Tree, jax.Array], dict]


class Cohort(NamedTuple):
  """The C clients of a round, each with up to K local batches.

  batches: pytree of arrays [C, K, ...]. real_CxK: whether a client has that batch. weight_C: of each thing that its
  objective counts, 0: it takes no part. memory, link: pytrees [C, ...], what each kept of its own, and of what it could
  not send.
  """

  batches: Tree
  real_CxK: jax.Array
  weight_C: jax.Array
  memory: Tree
  link: Tree


def plain(update: Tree, link: Tree, key: jax.Array) -> tuple[Tree, Tree]:
  """Everything is sent as it is."""
  del key
  return update, link


def norm(update: Tree) -> jax.Array:
  return optax.tree.norm(update)


AXIS = "clients"


def client_mesh(devices: Sequence[jax.Device]) -> Mesh:
  """The devices that share a round's clients."""
  return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def make_round(
  algorithm: Algorithm | Callable[..., Algorithm],
  lanes: int,
  longest: float,
  heaviest: float,
  vehicles: int,
  transmit: Transmit = plain,
  aggregate: Callable | None = None,
  mesh: Mesh | None = None,
) -> Callable:
  """round(server, cohort, key, *shared) -> (server, memory, link, report).

  Args:
    algorithm: or a function to it of arrays that all clients share, such as the records that their batches name by
      number. On a mesh no array may reach it otherwise.
    lanes: clients at a time, on each device; it must divide a device's share of C.
    longest: L2 norm beyond which an update is rejected; infinity: none is.
    heaviest: the most that one client's count may weigh, whatever it says it has seen.
    vehicles: of the whole fleet.
    aggregate: (updates [C, ...], weight_C) -> update in place of the weighted mean; needs all updates at once.
    mesh: of `client_mesh`; the cohort, memory, link and lengths are split over it by client. None: one device.

  report: "metrics" added up over clients; "rejected" and "took_part", numbers of clients; "length" [C], the norms.
  """

  def made(shared) -> Algorithm:
    return algorithm if isinstance(algorithm, Algorithm) else algorithm(*shared)

  def one(given, batches, real_K, weight, memory, link, key):
    train, send = jax.random.split(key)
    server, shared = given
    update, remembered, metrics = made(shared).client(server, memory, batches, real_K, train)
    arrived, kept = transmit(update, link, send)
    length = norm(arrived)
    weight = weight * jnp.minimum(metrics["objective"][1], heaviest)
    here = weight > 0
    good = here & jnp.isfinite(length) & (length <= longest)
    arrived = jax.tree.map(lambda x: jnp.where(good, x, 0), arrived)
    # Who took no part, or sent nonsense, remembers what it did before.
    memory, link = (
      jax.tree.map(lambda new, old: jnp.where(good, new, old), *pair)
      for pair in ((remembered, memory), (kept, link))
    )
    metrics = jax.tree.map(lambda x: jnp.where(good, x, jnp.zeros_like(x)), metrics)
    return arrived, jnp.where(good, weight, 0.0), memory, link, metrics, here & ~good, length

  def alone(given, *client):
    """One lane without vmap: products with weights stay matrix products, which processors are fast at."""
    return jax.tree.map(lambda x: x[None], one(given, *jax.tree.map(lambda x: x[0], client)))

  def accumulate(given: tuple[dict, tuple], cohort: Cohort, keys_C: jax.Array):
    """(sums over these clients, what is kept of each); given: the server, and what is shared."""
    clients = len(keys_C)
    if clients % lanes:
      raise ValueError(f"{clients} clients are no whole sets of {lanes}")
    cut = jax.tree.map(lambda x: x.reshape(clients // lanes, lanes, *x.shape[1:]), (*cohort, keys_C))

    def piece(batches, real, weight, memory, link, keys):
      each = jax.vmap(one, (None, 0, 0, 0, 0, 0, 0)) if lanes > 1 else alone
      arrived, weight, memory, link, metrics, bad, length = each(
        given, batches, real, weight, memory, link, keys
      )
      here = {"weight": weight, "metrics": metrics, "rejected": bad, "took_part": weight > 0}
      here, kept = jax.tree.map(lambda x: x.sum(0), here), (memory, link, length)
      if aggregate is not None:
        return here, (*kept, arrived, weight)
      return here | {"update": jax.tree.map(lambda x: jnp.tensordot(weight, x, 1), arrived)}, kept

    def add(total, part):
      here, kept = piece(*part)
      return jax.tree.map(jnp.add, total, here), kept

    shapes, _ = jax.eval_shape(piece, *jax.tree.map(lambda x: x[0], cut))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, kept = jax.lax.scan(add, zero, cut)
    if mesh is not None:
      total = jax.lax.psum(total, AXIS)
    return total, jax.tree.map(lambda x: x.reshape(clients, *x.shape[2:]), kept)

  if mesh is not None:
    whole, split = PartitionSpec(), PartitionSpec(AXIS)
    accumulate = jax.shard_map(
      accumulate, mesh=mesh, in_specs=(whole, split, split), out_specs=(whole, split), check_vma=False
    )

  def run(server: dict, cohort: Cohort, key: jax.Array, *shared):
    total, kept = accumulate((server, shared), cohort, jax.random.split(key, len(cohort.weight_C)))
    weight = total["weight"]
    if aggregate is None:
      memory, link, length = kept
      mean = jax.tree.map(lambda x: x / jnp.maximum(weight, 1e-30), total["update"])
    else:
      memory, link, length, updates, weight_C = kept
      mean = aggregate(updates, weight_C)
    moved = made(shared).server_step(server, mean, total["took_part"] / vehicles)
    # A round in which nobody took part moves nothing.
    server = jax.tree.map(lambda new, old: jnp.where(weight > 0, new, old), moved, server)
    report = {name: total[name] for name in ("metrics", "rejected", "took_part")} | {"length": length}
    return server, memory, link, report

  return run
