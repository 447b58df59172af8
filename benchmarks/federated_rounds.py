"""What a federated round costs: beside plain central steps, with 10 clients and 1,000, and beside FedJAX.

  python -m benchmarks.federated_rounds --out=results/federated_rounds [--turns=20] [--dataset=build/sumo]

100 clients of 64 images of 32 x 32 x 3 in 10 classes, batches of 16, one epoch (4 steps), SGD at 0.1: a small CNN
(convolutions as patches and matrix products, which processors are fast at in loops) and an MLP. CPU time of the
process, median over turns taken one after the other. FedJAX is timed where it is installed (`pip install
fedjax==0.0.17` into an environment of its own with requirements/base.txt); it is given the same model and batches.
With --dataset also the motion model of width 8, 10 clients of 64 windows. Memory: compiled temporaries of rounds of 10
and of 1,000 clients.
"""

import argparse
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

CLIENTS, IMAGES, BATCH, EDGE, CLASSES, RATE = 100, 64, 16, 32, 10, 0.1
STEPS = IMAGES // BATCH


def models() -> dict[str, tuple[Callable, Callable]]:
  """name -> (init(key) -> params, loss(params, {"x", "y"}, key) -> metrics)."""
  import jax
  import jax.numpy as jnp

  def dense(key, rows, columns):
    return {"w": jax.random.normal(key, (rows, columns)) * rows**-0.5, "b": jnp.zeros(columns)}

  def metrics(logits, y):
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)[:, 0]
    return {"objective": (nats.sum(), jnp.float32(len(y)))}

  def mlp_init(key):
    keys = jax.random.split(key)
    return {"up": dense(keys[0], EDGE * EDGE * 3, 128), "head": dense(keys[1], 128, CLASSES)}

  def mlp(params, batch, key):
    del key
    x = batch["x"].reshape(len(batch["x"]), -1)
    x = jax.nn.relu(x @ params["up"]["w"] + params["up"]["b"][None])
    return metrics(x @ params["head"]["w"] + params["head"]["b"][None], batch["y"])

  def conv(x, layer):
    """3 x 3, stride 2, as patches and a product."""
    n, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    parts = [x[:, i : i + h : 2, j : j + w : 2] for i in range(3) for j in range(3)]
    patches = jnp.concatenate(parts, -1).reshape(n * (h // 2) * (w // 2), 9 * c)
    return jax.nn.relu(patches @ layer["w"] + layer["b"][None]).reshape(n, h // 2, w // 2, -1)

  def cnn_init(key):
    keys = jax.random.split(key, 3)
    return {
      "one": dense(keys[0], 27, 16),
      "two": dense(keys[1], 144, 32),
      "head": dense(keys[2], (EDGE // 4) ** 2 * 32, CLASSES),
    }

  def cnn(params, batch, key):
    del key
    x = conv(conv(batch["x"], params["one"]), params["two"]).reshape(len(batch["x"]), -1)
    return metrics(x @ params["head"]["w"] + params["head"]["b"][None], batch["y"])

  return {"cnn": (cnn_init, cnn), "mlp": (mlp_init, mlp)}


def data(clients: int) -> dict[str, Any]:
  """{"x" [clients, images, 32, 32, 3], "y" [clients, images]}, random."""
  import numpy as np

  rng = np.random.default_rng(0)
  return {
    "x": rng.normal(size=(clients, IMAGES, EDGE, EDGE, 3)).astype(np.float32),
    "y": rng.integers(0, CLASSES, (clients, IMAGES)).astype(np.int32),
  }


def motion(dataset: str) -> tuple[Callable, Callable, dict[str, Any]]:
  """(init, loss, windows) of the motion model."""
  import flax.linen as nn
  import numpy as np

  from data import reader
  from data.datasets import open_dataset
  from experiments.config import from_dict
  from experiments.configs import motion as config_file
  from experiments.task import make_task

  opened = open_dataset(dataset)
  task = make_task(from_dict(config_file.get_config("w8").to_dict()), opened.config, len(opened.domains))
  source = reader.RecordSource(opened, "train", task.fields, limit=10 * IMAGES)
  whole = task.to_batch(source.stacked(np.arange(10 * IMAGES)))
  held = {name: value.reshape(10, IMAGES, *value.shape[1:]) for name, value in whole.items()}

  def init(key):
    return nn.unbox(task.init(key, {name: value[:1] for name, value in whole.items()})["params"])

  return init, task.loss_fn, held


def ours(init: Callable, loss: Callable, held: dict, clients: int, lanes: int) -> tuple[Callable, int]:
  """(a round of the first `clients`, bytes of its compiled temporaries)."""
  import jax
  import jax.numpy as jnp
  import optax

  from federated import algorithms
  from federated.rounds import Cohort, make_round

  algorithm = algorithms.fedavg(loss, optax.sgd(RATE))
  server = algorithm.server_init(init(jax.random.key(0)))
  one = make_round(algorithm, lanes, jnp.inf, jnp.inf, CLIENTS)
  batches = {
    k: jnp.asarray(v[:clients]).reshape(clients, STEPS, BATCH, *v.shape[2:]) for k, v in held.items()
  }
  cohort = Cohort(batches, jnp.ones((clients, STEPS), bool), jnp.ones(clients), {}, {})
  compiled = jax.jit(one).lower(server, cohort, jax.random.key(0)).compile()
  memory = compiled.memory_analysis().temp_size_in_bytes

  def call() -> None:
    jax.block_until_ready(compiled(server, cohort, jax.random.key(0))[0])

  return call, memory


def central(init: Callable, loss: Callable, held: dict, clients: int) -> Callable:
  """As many plain steps on the same batches, one jitted call each."""
  import jax
  import jax.numpy as jnp
  import optax

  from federated.algorithms import gradient

  slope, optimizer = gradient(loss), optax.sgd(RATE)

  @jax.jit
  def step(params, batch):
    grads, _ = slope(params, batch, jax.random.key(0))
    return optax.apply_updates(params, optimizer.update(grads, optimizer.init(params))[0])

  flat = {k: v[:clients].reshape(clients * STEPS, BATCH, *v.shape[2:]) for k, v in held.items()}
  batches = [{k: jnp.asarray(v[i]) for k, v in flat.items()} for i in range(clients * STEPS)]
  start = init(jax.random.key(0))

  def call() -> None:
    params = start
    for batch in batches:
      params = step(params, batch)
    jax.block_until_ready(params)

  return call


def fedjax_round(init: Callable, loss: Callable, held: dict, clients: int) -> Callable | None:
  """The same round by FedJAX; None where it is not installed."""
  import jax

  try:
    jax.tree_map = jax.tree_util.tree_map  # type: ignore[attr-defined]  # which it calls, and JAX has no longer
    import fedjax
    from fedjax.algorithms import fed_avg
  except ImportError:
    return None

  def objective(params, batch, rng):
    total, count = loss(params, batch, rng)["objective"]
    return total / count

  parameters = fedjax.ShuffleRepeatBatchHParams(batch_size=BATCH, num_epochs=1, drop_remainder=False)
  algorithm = fed_avg.federated_averaging(
    jax.grad(objective), fedjax.optimizers.sgd(RATE), fedjax.optimizers.sgd(1.0), parameters
  )
  state = algorithm.init(init(jax.random.key(0)))
  keys = jax.random.split(jax.random.PRNGKey(0), clients)
  cohort = [
    (str(i), fedjax.ClientDataset({k: v[i] for k, v in held.items()}), keys[i]) for i in range(clients)
  ]

  def call() -> None:
    moved, _ = algorithm.apply(state, cohort)
    jax.block_until_ready(moved.params)

  return call


def taken(calls: dict[str, Callable], turns: int) -> dict[str, dict[str, float]]:
  """Milliseconds of CPU time of each, in turn: median, and quartiles over turns."""
  for call in calls.values():
    call()
  times: dict[str, list[float]] = {name: [] for name in calls}
  for _ in range(turns):
    for name, call in calls.items():
      start = time.process_time()
      call()
      times[name].append(1e3 * (time.process_time() - start))
  return {
    name: dict(zip(("low", "median", "high"), statistics.quantiles(own, n=4), strict=True))
    for name, own in times.items()
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", required=True, type=pathlib.Path)
  parser.add_argument("--turns", default=20, type=int)
  parser.add_argument("--lanes", default=1, type=int, help="Clients computed at a time.")
  parser.add_argument("--dataset", default="", help="Of windows, for the motion model.")
  chosen = parser.parse_args()
  from data.files import write_json_atomic

  result: dict[str, Any] = {"lanes": chosen.lanes, "turns": chosen.turns, "rounds": {}, "memory": {}}

  def beside(name: str, init: Callable, loss: Callable, held: dict, clients: int) -> None:
    own, _ = ours(init, loss, held, clients, chosen.lanes)
    calls = {"round": own, "central": central(init, loss, held, clients)}
    peer = fedjax_round(init, loss, held, clients)
    if peer:
      calls["fedjax"] = peer
    found = taken(calls, chosen.turns)
    result["rounds"][f"{name}, {clients} clients"] = found
    times = {k: round(v["median"], 1) for k, v in found.items()}
    print(name, clients, times, {k: round(times[k] / times["round"], 2) for k in times}, flush=True)

  if chosen.dataset:
    beside("motion", *motion(chosen.dataset), 10)
  held = data(CLIENTS)
  for name, (init, loss) in models().items():
    for clients in (10, 100):
      beside(name, init, loss, held, clients)
    many = data(1000)
    memory = {clients: ours(init, loss, many, clients, chosen.lanes)[1] for clients in (10, 1000)}
    result["memory"][name] = memory
    print(name, "bytes of temporaries", memory)
  chosen.out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(chosen.out / "federated_rounds.json", result)


if __name__ == "__main__":
  main()
