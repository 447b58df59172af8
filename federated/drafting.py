"""Who takes part in a round, with which records, and how long it lasts: pure functions of the round's number."""

from typing import NamedTuple

import numpy as np

from federated.fleet import Fleet


class Draft(NamedTuple):
  """The C clients of a round.

  client_C: indices of vehicles. record_CxKxB: what they train on; real_CxK: which steps there are. weight_C: 1, or
  0 for whom nobody reached.
  """

  client_C: np.ndarray
  record_CxKxB: np.ndarray
  real_CxK: np.ndarray
  weight_C: np.ndarray


def draft(fleet: Fleet, number: int, clients: int, steps: int, batch: int, epochs: float, seed: int) -> Draft:
  """Round `number`: clients drawn without replacement, each on its own records in a new order.

  A client takes epochs * records / batch steps, rounded up, at most `steps`; a last batch that is not full begins anew.
  """
  rng = np.random.default_rng([seed, 4, number])
  chosen = rng.choice(fleet.vehicles, clients, replace=False)
  record = np.zeros((clients, steps, batch), np.int64)
  real = np.zeros((clients, steps), bool)
  for row, vehicle in enumerate(chosen):
    own = fleet.records[vehicle]
    taken = min(steps, int(np.ceil(epochs * len(own) / batch)))
    order = np.concatenate([rng.permutation(own) for _ in range(-(-taken * batch // len(own)))])
    record[row, :taken] = order[: taken * batch].reshape(taken, batch)
    real[row, :taken] = True
  reached = rng.random(clients) < fleet.reached_V[chosen]
  return Draft(chosen, record, real, reached.astype(np.float32))


def seconds(fleet: Fleet, drafted: Draft, up_bytes: float, down_bytes: float) -> np.ndarray:
  """[C] what each client's part of the round takes: download, local steps, upload."""
  own = drafted.client_C
  local = drafted.real_CxK.sum(1) / fleet.steps_per_second_V[own]
  return down_bytes / fleet.down_V[own] + local + up_bytes / fleet.up_V[own]
