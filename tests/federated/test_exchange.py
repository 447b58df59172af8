"""A round in letters is the round of a simulation, whoever falls silent, lies or answers late."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data.errors import BadInput
from federated import algorithms, exchange, wire
from federated.exchange import Rules
from federated.rounds import make_round
from tests.federated.quadratics import cohort, loss_fn, problem

CLIENTS, STEPS, RATE = 4, 3, 0.1
RULES = Rules(longest=1e3, heaviest=10.0, vehicles=8, least=1)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


@functools.cache
def fleet(name):
  """(algorithm, clients, receiver, cohort, start) of the quadratic clients."""
  algorithm = ALGORITHMS[name]()
  a, b, _ = problem(CLIENTS)
  whole = cohort(a, b, np.ones(CLIENTS), STEPS)
  start = jax.tree.map(jnp.asarray, {"x": np.zeros(3)})
  clients = [
    exchange.make_client(algorithm, start, jax.tree.map(lambda x, k=k: x[k], whole.batches), np.ones(STEPS, bool))
    for k in range(CLIENTS)
  ]  # fmt: skip
  one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), whole.batches)
  return algorithm, clients, exchange.make_receiver(algorithm, start, one, RULES), whole, start


def over_letters(name, rounds, meddle=lambda number, replies: replies):
  algorithm, clients, take, _, start = fleet(name)
  server, taken, kept, reports = algorithm.server_init(start), {}, [{} for _ in clients], []
  for number in range(rounds):
    key = jax.random.key(number)
    replies = {}
    for vehicle, letter in exchange.ask(server, range(CLIENTS), number, key, taken).items():
      replies[vehicle], kept[vehicle] = clients[vehicle](letter, kept[vehicle])
    server, told, good = take(server, range(CLIENTS), meddle(number, replies), number, key)
    taken |= dict.fromkeys(good, number)
    reports.append((told["took_part"], told["rejected"], told["silent"]))
  return server, reports


def simulated(name, rounds, without=lambda number: ()):
  algorithm, _, _, whole, start = fleet(name)
  server = algorithm.server_init(start)
  memory = jax.tree.map(lambda x: jnp.zeros((CLIENTS, *x.shape)), algorithm.memory_init(start))
  one = jax.jit(make_round(algorithm, 2, RULES.longest, RULES.heaviest, RULES.vehicles))
  for number in range(rounds):
    weight = np.array([k not in without(number) for k in range(CLIENTS)], float)
    now = whole._replace(memory=memory, weight_C=jnp.asarray(weight))
    server, memory, _, _ = one(server, now, jax.random.key(number))
  return server


def assert_same(got, expected):
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)


ALGORITHMS = {
  "fedavg": lambda: algorithms.fedavg(loss_fn, optax.sgd(RATE), optax.adam(0.1)),
  "scaffold": lambda: algorithms.scaffold(loss_fn, RATE),  # which remembers
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_letters_come_to_what_a_simulation_does(name):
  server, reports = over_letters(name, 3)
  assert reports == [(CLIENTS, 0, 0)] * 3
  assert_same(server, simulated(name, 3))


def flipped(message: bytes) -> bytes:
  return message[:-1] + bytes([message[-1] ^ 1])


@pytest.mark.parametrize(
  ("change", "counted"),
  [
    (None, (3, 0, 1)),  # silent
    (lambda r: r | {"update": flipped(r["update"])}, (3, 1, 0)),
    (lambda r: r | {"update": b""}, (3, 1, 0)),
    (lambda r: r | {"update": 5}, (3, 1, 0)),
    (lambda r: {"number": r["number"]}, (3, 1, 0)),
    (lambda r: r | {"number": 0}, (3, 1, 0)),  # late
    (lambda r: r | {"update": wire.encode({"params": {"x": np.full(3, np.nan)}})}, (3, 1, 0)),
    (lambda r: r | {"update": wire.encode({key: np.full(3, 1e9) for key in ("control", "params")})}, (3, 1, 0)),
  ],
)  # fmt: skip
def test_who_is_silent_or_cannot_be_read_loses_no_round_and_remembers_nothing_of_it(change, counted):
  def meddle(number, replies):
    if number != 1:
      return replies
    own = {} if change is None else {2: change(replies[2])}
    return {vehicle: reply for vehicle, reply in replies.items() if vehicle != 2} | own

  server, reports = over_letters("scaffold", 3, meddle)
  assert reports == [(4, 0, 0), counted, (4, 0, 0)]
  assert_same(server, simulated("scaffold", 3, lambda number: (2,) if number == 1 else ()))


def test_a_round_that_nobody_answers_moves_nothing():
  server, reports = over_letters("fedavg", 1, lambda number, replies: {})
  assert reports == [(0, 0, CLIENTS)]
  algorithm, _, _, _, start = fleet("fedavg")
  assert_same(server, algorithm.server_init(start))


def test_a_letter_of_another_model_is_refused():
  algorithm, clients, _, _, start = fleet("fedavg")
  letter = exchange.ask(algorithm.server_init(start), [0], 0, jax.random.key(0), {})[0]
  with pytest.raises(BadInput, match="the server: has been damaged"):
    clients[0](letter | {"server": flipped(letter["server"])}, {})
