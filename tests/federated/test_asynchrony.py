"""Buffered asynchronous rounds: without delay they are FedAvg's; the clock and the staleness are as planted."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from federated import algorithms
from federated.asynchrony import buffered
from federated.rounds import make_round
from tests.federated.quadratics import cohort, loss_fn, problem, weighted_rest

RATE = 0.1


def arrivals(seconds, concurrent, size, count, rate=RATE, server=None, longest=np.inf, spoilt=()):
  a, b, _ = problem()
  b = np.where(np.isin(np.arange(8), spoilt)[:, None], np.nan, b)
  algorithm = algorithms.fedavg(loss_fn, optax.sgd(rate), server)
  batches = {"a": jnp.asarray(a), "b": jnp.asarray(b)}

  def take(vehicle, turn):
    del turn
    return jax.tree.map(lambda x: x[vehicle][None].repeat(2, 0), batches), jnp.ones(2, bool)

  begun = algorithm.server_init({"x": jnp.zeros(3)})
  made = buffered(
    algorithm, begun, take, seconds, 8, concurrent, size, longest, np.inf,
    np.random.default_rng(0), jax.random.key(0),
  )  # fmt: skip
  return list(itertools.islice(made, count))


def test_a_full_buffer_without_delay_is_a_round_of_fedavg():
  a, b, _ = problem()
  got = arrivals(lambda vehicle: 1.0, 8, 8, 8)
  algorithm = algorithms.fedavg(loss_fn, optax.sgd(RATE))
  server = algorithm.server_init({"x": jnp.zeros(3)})
  one = make_round(algorithm, 8, jnp.inf, jnp.inf, 8)
  server, _, _, _ = one(server, cohort(a, b, np.ones(8), 2), jax.random.key(0))
  assert [one.stepped for one in got] == [False] * 7 + [True]
  assert {one.stale for one in got} == {0}
  np.testing.assert_allclose(got[7].server["params"]["x"], server["params"]["x"], rtol=1e-5)


def test_the_clock_and_the_staleness_are_those_of_the_vehicles():
  """One slow vehicle of 10 s among fast ones of 1 s, a server step for every arrival."""
  slow = 3
  got = arrivals(lambda vehicle: 10.0 if vehicle == slow else 1.0, 8, 1, 71)
  times = [one.seconds for one in got]
  assert times == sorted(times)
  late = [one for one in got if one.vehicle == slow]
  assert late[0].seconds == 10.0
  assert late[0].stale == sum(one.seconds <= 10.0 for one in got[: got.index(late[0])])


def test_an_update_counts_less_the_more_server_steps_it_is_behind():
  """Also where it fills the buffer alone: a server step by (1 + s)^-1/2 of what its vehicle would have it move."""
  got = arrivals(lambda vehicle: 10.0 if vehicle == 3 else 1.0, 8, 1, 71)
  at = next(i for i, one in enumerate(got) if one.vehicle == 3)
  a, b, _ = problem()
  algorithm = algorithms.fedavg(loss_fn, optax.sgd(RATE))
  batches = {"a": jnp.asarray(a[3])[None].repeat(2, 0), "b": jnp.asarray(b[3])[None].repeat(2, 0)}
  begun = algorithm.server_init({"x": jnp.zeros(3)})
  update, _, _ = algorithm.client(begun, {}, batches, jnp.ones(2, bool), jax.random.key(0))
  moved = got[at].server["params"]["x"] - got[at - 1].server["params"]["x"]
  assert got[at].stale > 30
  np.testing.assert_allclose(moved, update["x"] * (1 + got[at].stale) ** -0.5, rtol=1e-4)


def test_what_is_not_finite_or_too_long_is_rejected_and_moves_nothing():
  for bad in ({"spoilt": (3, 5)}, {"longest": 1e-9}):
    got = arrivals(lambda vehicle: 1.0, 8, 2, 16, **bad)
    assert all(np.isfinite(one.server["params"]["x"]).all() for one in got)
    turned_away = {one.vehicle for one in got if one.rejected}
    assert turned_away == (set(bad["spoilt"]) if "spoilt" in bad else {one.vehicle for one in got})
    assert got[-1].updates == sum(not one.rejected for one in got)


def test_it_comes_near_the_optimum_though_updates_are_stale():
  a, b, _ = problem()
  got = arrivals(lambda vehicle: 1.0 + vehicle, 4, 2, 4000, rate=0.01)
  best = weighted_rest(a, b, np.ones(8))
  assert np.abs(np.asarray(got[-1].server["params"]["x"]) - best).max() < 0.35 * np.abs(best).max()


def test_more_at_a_time_than_there_are_and_clients_that_remember_are_refused():
  with pytest.raises(ValueError, match="9 vehicles at a time of 8"):
    arrivals(lambda vehicle: 1.0, 9, 1, 1)
  algorithm = algorithms.scaffold(loss_fn, RATE)
  with pytest.raises(ValueError, match="clients that remember"):
    next(
      buffered(
        algorithm, algorithm.server_init({"x": jnp.zeros(3)}), lambda v, t: None, lambda v: 1.0,
        8, 2, 1, np.inf, np.inf, np.random.default_rng(0), jax.random.key(0),
      )
    )  # fmt: skip
