"""Clients with quadratic losses f_i(x) = (x - b_i)^T A_i (x - b_i) / 2, whose federated fixed points are known.

K steps of rate eta leave x at b + (I - eta A)^K (x - b). With Q_i = I - (I - eta A_i)^K FedAvg comes to rest where
sum w_i Q_i (b_i - x) = 0, the optimum is where sum w_i A_i (b_i - x) = 0.
"""

import jax.numpy as jnp
import numpy as np

from federated.rounds import Cohort


def problem(clients: int = 8, size: int = 3, seed: int = 0):
  """(A [C, D, D], b [C, D], weights [C])."""
  rng = np.random.default_rng(seed)
  root = rng.normal(size=(clients, size, size))
  a = root @ root.swapaxes(1, 2) / size + 0.3 * np.eye(size)
  return a, rng.normal(size=(clients, size)), rng.uniform(1, 3, size=clients)


def loss_fn(params, batch, key):
  del key
  apart = params["x"] - batch["b"]
  return {"objective": (0.5 * apart @ batch["a"] @ apart, jnp.ones(()))}


def cohort(a, b, weights, steps: int, memory=None) -> Cohort:
  batches = {
    "a": jnp.asarray(np.repeat(a[:, None], steps, 1)),
    "b": jnp.asarray(np.repeat(b[:, None], steps, 1)),
  }
  clients = len(weights)
  return Cohort(batches, jnp.ones((clients, steps), bool), jnp.asarray(weights), memory or {}, {})


def weighted_rest(matrices, b, weights):
  """x with sum w_i M_i (b_i - x) = 0."""
  left = np.einsum("c,cij->ij", weights, matrices)
  return np.linalg.solve(left, np.einsum("c,cij,cj->i", weights, matrices, b))


def moved(a, rate: float, steps: int):
  """I - (I - rate A_i)^steps."""
  eye = np.eye(a.shape[1])
  return np.stack([eye - np.linalg.matrix_power(eye - rate * one, steps) for one in a])
