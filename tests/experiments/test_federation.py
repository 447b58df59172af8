"""A fleet over a real dataset: the same gradient as central training; what is refused."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import scene_labels
from data.datasets import open_dataset
from data.errors import BadInput
from experiments import federation, federation_config
from experiments.configs import fleet as config_file
from experiments.task import make_task
from federated import wire
from models.trainable import insert


def values(dataset, **changes):
  made = config_file.get_config("tiny").to_dict()
  made["train"]["data"]["dataset"] = str(dataset)
  made["train"]["model"] |= {"width": 8, "head_dim": 8}
  made |= {"clients": 2, "lanes": 1, "steps": 2, "rounds": 3, "evaluate_every": 3}
  made["fleet"] |= {"vehicles": 7, "axes": "domain", "reached": 1.0}  # one scene of each place
  return made | changes


def test_one_step_of_all_clients_on_all_they_hold_is_a_central_step(simulated):
  dataset = open_dataset(simulated)
  whole = values(simulated, clients=7, lanes=7, steps=1, batch=1)
  whole["algorithm"] |= {"client": "sgd", "client_rate": 0.05}
  config, train = federation_config.parse(whole)
  made = federation.make_simulation(config, train, dataset)
  size = max(len(own) for own in made.fleet.records)
  # Records are padded with copies that count nothing: their moves are not known.
  mask = made.data["mask_BxTxA"]
  data = made.data | {"mask_BxTxA": jnp.concatenate([mask, jnp.zeros_like(mask[:1])])}
  data |= {name: jnp.concatenate([x, x[:1]]) for name, x in data.items() if name != "mask_BxTxA"}
  record = np.full((7, 1, size), len(mask))
  for row, own in enumerate(made.fleet.records):
    record[row, 0, : len(own)] = own
  before = jax.tree.map(np.asarray, made.fixed["params"])
  state, _ = made.advance(
    made.state, data, made.fixed, jnp.arange(7), jnp.asarray(record), jnp.ones((7, 1), bool), jnp.ones(7), 0.05,
    jax.random.key(0),
  )  # fmt: skip

  def objective(learning):
    total, count = made.task.loss_fn(insert(before, learning), made.data, jax.random.key(0))["objective"]
    return total / count

  slope = jax.jit(jax.grad(objective))(before)
  expected = jax.tree.map(lambda x, g: x - config.algorithm.client_rate * g, before, slope)
  for got, want in zip(jax.tree.leaves(state["server"]["params"]), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_adapters_alone_travel_beside_a_base_that_was_trained(simulated, monkeypatch):
  dataset = open_dataset(simulated)
  _, train = federation_config.parse(values(simulated))
  task = make_task(train, dataset.config, len(dataset.domains))
  batch = task.to_batch(dataset.example())
  shapes = nn.unbox(jax.eval_shape(task.init, jax.random.key(0), batch)["params"])
  base = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5), shapes)
  monkeypatch.setattr(federation, "open_run", lambda path: types.SimpleNamespace(weights=base))
  made = values(simulated)
  made["train"]["start"] |= {"run": "finished"}
  made["train"]["adaptation"] |= {"method": "lora", "rank": 2, "alpha": 4.0, "match": "/attention/"}
  config, train = federation_config.parse(made)
  adapted = federation.make_simulation(config, train, dataset)
  learning = adapted.state["server"]["params"]
  assert set(learning) == {"deltas"}
  assert adapted.returned == adapted.sent == len(wire.encode(learning)) < wire.size(base) / 4
  held = adapted.fixed["params"]["base"]
  assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), held, base))


def test_vehicles_are_dealt_by_what_scenes_say_of_themselves(simulated):
  """Records carry no side of traffic: it is in the metadata of their scenes."""
  dataset = open_dataset(simulated)
  made = values(simulated)
  made["fleet"] |= {"axes": "traffic_side", "without": "domain=rural", "vehicles": 4}
  config, train = federation_config.parse(made)
  fleet = federation.make_fleet(config, dataset, train.data.train_split)
  side = {n: scene.metadata.traffic_side for n, scene in enumerate(dataset.scenes(train.data.train_split))}
  labels, names = scene_labels.of_records(dataset, train.data.train_split, ["traffic_side"])
  _, place = np.unique(labels["scene"], return_inverse=True)
  for own, home in zip(fleet.records, fleet.home_V, strict=True):
    assert {side[n] for n in place[own]} == {names["traffic_side"][fleet.cells[home]["traffic_side"]]}
  held = np.concatenate(fleet.records)
  assert len(fleet.cells) == 2
  assert len(set(held)) == len(held) == (labels["domain"] != dataset.domains.index("rural")).sum()


@pytest.mark.parametrize("variant", ["", "tiny", "demo"])
def test_every_variant_is_a_fleet(variant):
  config, train = federation_config.parse(config_file.get_config(variant).to_dict())
  assert config.fleet.vehicles >= config.clients and train.family == "motion"


@pytest.mark.parametrize(
  ("change", "says"),
  [
    ({"clients": 8}, "8 clients in a round, 7 vehicles"),
    ({"lanes": 3, "clients": 2}, "no whole sets of 3"),
    ({"rounds": 0}, "rounds is 0"),
    ({"speed": 1}, "unknown key 'speed'"),
    ({"up": config_file.ALL | {"codec": "power"}}, "power needs a rank|power a rank"),
  ],
)
def test_a_fleet_that_makes_no_sense_is_refused_by_name(tmp_path, change, says):
  with pytest.raises(BadInput, match=says):
    config, _ = federation_config.parse(values(tmp_path, **change))
    federation_config.make_codec(config.up, "config.up")
