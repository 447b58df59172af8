"""What the test of Flower runs as ClientApp and ServerApp: SCAFFOLD over quadratic clients, which remember.

Vehicle STUCK writes a file in round 1 and then does nothing, until somebody kills its node.
"""

import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from federated import algorithms, exchange, flower_app, wire
from federated.exchange import Rules
from tests.federated.quadratics import cohort, loss_fn, problem

CLIENTS, STEPS, ROUNDS, STUCK = 3, 4, 3, 2
RULES = Rules(longest=1e3, heaviest=10.0, vehicles=CLIENTS, least=2)
KEY_SEED = 5


def algorithm():
  return algorithms.scaffold(loss_fn, 0.1)


def start():
  return {"x": jnp.zeros(3)}


def whole():
  a, b, _ = problem(CLIENTS)
  return cohort(a.astype(np.float32), b.astype(np.float32), np.ones(CLIENTS, np.float32), STEPS)


def load(node):
  vehicle = int(node["vehicle"])
  batches = jax.tree.map(lambda x: x[vehicle], whole().batches)
  answer = exchange.make_client(algorithm(), start(), batches, np.ones(STEPS, bool))

  def perhaps(letter, kept):
    if vehicle == STUCK and letter["number"] == 1:
      (pathlib.Path(node["out"]) / "stuck").touch()
      time.sleep(3600)
    return answer(letter, kept)

  return perhaps


def main(grid, context):
  out, seconds = pathlib.Path(context.run_config["out"]), float(context.run_config["seconds"])
  one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), whole().batches)
  take = exchange.make_receiver(algorithm(), start(), one, RULES)

  def told(number, server, report):
    counts = {name: report[name] for name in ("took_part", "rejected", "silent")}
    (out / f"server {number}").write_bytes(wire.encode(server))
    with (out / "rounds.jsonl").open("a") as file:
      file.write(json.dumps(counts | {"at": time.time()}) + "\n")

  key = jax.random.key(KEY_SEED)
  flower_app.serve(
    grid,
    algorithm().server_init(start()),
    take,
    CLIENTS,
    int(context.run_config["rounds"]),
    seconds,
    key,
    told,
  )
  (out / "done").touch()
