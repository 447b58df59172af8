"""A round between processes: what the server asks and a vehicle answers, as bytes, by the functions of a simulation.

A vehicle runs `Algorithm.client` on its own records; the server runs federated/rounds.py, with what arrived in place of
what clients would compute, so that weights, rejections and the aggregate are those of a simulation. Who does not
answer takes no part; an answer that cannot be read is rejected and counted.

What a vehicle keeps of its own moves only when the server says that its update was taken, as in a simulation.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.errors import BadInput
from federated import wire
from federated.rounds import Algorithm, Cohort, Tree, make_round

Letter = dict[str, Any]  # names to bytes and integers: what any transport carries
_KEY = jax.ShapeDtypeStruct((2,), jnp.uint32)
NEVER = -1  # the round in which an update was last taken, of a vehicle none of whose was


def _seen(server: Tree) -> Tree:
  """What clients are sent of a server: not its optimiser's state."""
  return {name: value for name, value in server.items() if name != "opt"}


def _shapes(algorithm: Algorithm, params: Tree) -> tuple[Tree, Tree]:
  """(of what clients are sent, of what they keep)."""
  return jax.eval_shape(lambda: (_seen(algorithm.server_init(params)), algorithm.memory_init(params)))


def make_client(algorithm: Algorithm, params: Tree, batches: Tree, real_K: Any) -> Callable:
  """answer(letter, kept) -> (reply, kept): a vehicle with these local batches [K, ...].

  kept: a letter to itself, {} at first. Raises BadInput for a letter that is not of this model.
  """
  server_like, memory_like = _shapes(algorithm, params)
  step = jax.jit(algorithm.client)

  def answer(letter: Letter, kept: Letter) -> tuple[Letter, Letter]:
    server = wire.decode(letter["server"], server_like, "the server")
    key = jax.random.wrap_key_data(jnp.asarray(wire.decode(letter["key"], _KEY, "the server")))
    taken = kept and letter["taken"] == kept["number"]
    if taken:
      memory = wire.decode(kept["after"], memory_like, "this vehicle")
    elif kept:
      memory = wire.decode(kept["before"], memory_like, "this vehicle")
    else:
      memory = algorithm.memory_init(params)
    train, _ = jax.random.split(key)
    update, after, metrics = step(server, memory, batches, jnp.asarray(real_K), train)
    reply = {"number": letter["number"], "update": wire.encode(update), "metrics": wire.encode(metrics)}
    return reply, {
      "number": letter["number"],
      "before": wire.encode(memory),
      "after": wire.encode(after),
    }

  return answer


@dataclasses.dataclass(frozen=True)
class Rules:
  """longest, heaviest, vehicles: as in federated/rounds.py. least: answers without which a round moves nothing."""

  longest: float
  heaviest: float
  vehicles: int
  least: int


def ask(server: Tree, drafted: Sequence[int], number: int, key: jax.Array, taken: Mapping[int, int]) -> dict:
  """{vehicle: letter} of round `number`. taken: the round in which an update of a vehicle was last taken."""
  body = wire.encode(_seen(server))
  keys_C = jax.random.key_data(jax.random.split(key, len(drafted)))
  return {
    vehicle: {
      "number": number,
      "server": body,
      "key": wire.encode(np.asarray(keys_C[place])),
      "taken": taken.get(vehicle, NEVER),
    }
    for place, vehicle in enumerate(drafted)
  }


def make_receiver(
  algorithm: Algorithm, params: Tree, batches: Tree, rules: Rules, aggregate: Callable | None = None
) -> Callable:
  """take(server, drafted, replies, number, key) -> (server, report, vehicles whose updates were taken).

  batches: shapes of a client's local batches. report: "took_part", "rejected" (among them what could not be read),
  "silent", "metrics".
  """
  server_like, memory_like = _shapes(algorithm, params)
  update_like, _, metrics_like = jax.eval_shape(
    algorithm.client,
    server_like,
    memory_like,
    batches,
    jax.ShapeDtypeStruct((len(jax.tree.leaves(batches)[0]),), bool),
    jax.eval_shape(lambda: jax.random.key(0)),
  )
  # Where a client would compute, what arrived is handed on.
  arrived = dataclasses.replace(
    algorithm,
    client=lambda server, memory, letters, real, key: (letters["update"], memory, letters["metrics"]),
  )

  def filled(like: Tree, value: float) -> Tree:
    return jax.tree.map(lambda x: np.full(x.shape, value, x.dtype), like)

  def read(vehicle: int, reply: Letter, number: int) -> Tree:
    try:
      if reply["number"] != number:
        raise BadInput(f"answers round {reply['number']}, not {number}", f"vehicle {vehicle}", "reject it")
      return {
        "update": wire.decode(reply["update"], update_like, f"vehicle {vehicle}"),
        "metrics": wire.decode(reply["metrics"], metrics_like, f"vehicle {vehicle}"),
      }
    except (BadInput, KeyError, TypeError):
      # Not finite, and said to weigh something: the round rejects and counts it.
      return {"update": filled(update_like, np.nan), "metrics": filled(metrics_like, 1)}

  @functools.cache
  def round_of(clients: int) -> Callable:
    rest = rules.longest, rules.heaviest, rules.vehicles
    return jax.jit(make_round(arrived, clients, *rest, aggregate=aggregate))

  nothing = {"update": filled(update_like, 0), "metrics": filled(metrics_like, 0)}

  def take(server, drafted, replies: Mapping[int, Letter], number: int, key: jax.Array):
    letters = [read(v, replies[v], number) if v in replies else nothing for v in drafted]
    weight_C = np.array([v in replies for v in drafted], np.float32)
    cohort = Cohort(
      jax.tree.map(lambda *x: jnp.stack(x), *letters),
      jnp.ones((len(drafted), 1), bool),
      jnp.asarray(weight_C),
      {},
      {},
    )
    moved, _, _, report = round_of(len(drafted))(server, cohort, key)
    good_C = np.isfinite(report["length"]) & (np.asarray(report["length"]) <= rules.longest)
    good_C &= np.array([letter["metrics"]["objective"][1] > 0 for letter in letters])
    took_part = int(report["took_part"])
    told = {"took_part": took_part, "rejected": int(report["rejected"])}
    told |= {"silent": int((weight_C == 0).sum()), "metrics": report["metrics"]}
    if took_part < rules.least:
      return server, told, []
    return moved, told, [v for v, good in zip(drafted, good_C, strict=True) if good]

  return take
