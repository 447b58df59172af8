"""Adapted motion runs: two sites over one base, what learns and what it costs, what may not be asked for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from data.errors import BadInput
from data.windows import WindowConfig
from experiments import adaptation, start
from experiments.config import from_dict
from experiments.configs.motion import get_config
from experiments.mesh import make_key, make_mesh, put_batch
from experiments.step import abstract_state, make_eval, make_step
from experiments.task import make_task
from models import adapters, sites, trainable
from models.trainable import select
from tests.worlds import random_batch

WINDOW = WindowConfig(dt=0.5, steps=4, agents=4, points=8, stops=1, phases=1, least_moves=4)
LORA = dict(method="lora", rank=2, alpha=4.0, match="/(attention|mlp)/")
STEPS = 12


def config_of(**chosen):
  values = get_config("tiny").to_dict()
  values["model"]["head_dim"] = 4  # two heads, which a mesh can divide
  values["adaptation"] |= chosen
  return from_dict(values)


def task_of(**chosen):
  config = config_of(**chosen)
  return config, make_task(config, WINDOW, domains=3)


def trained(task, params, batch, steps: int = STEPS):
  """(parameters, optimiser's state) after some steps on one batch, beginning with `params`."""
  mesh, tx = make_mesh(1, 1, 1, 1, jax.devices()[:1]), optax.adam(0.02)
  spec, init = abstract_state(task, tx, mesh, batch, jax.random.key(0))
  step = make_step(task, tx, mesh, spec, 1)
  state = init(jax.random.key(0))
  # A copy: the step takes what it is given.
  state |= {"params": jax.tree.map(jnp.array, params(state["params"]))}
  for _ in range(steps):
    state, _ = step(state, batch, jax.random.key(1))
  return state


@functools.cache
def site(number: int):
  """A site: its own habit, the same move again and again."""
  batch = random_batch(2, 4, 4, seed=number)
  batch["tokens_BxTxA"][:] = 20 + 40 * number
  return batch


@functools.cache
def base():
  return trained(task_of()[1], lambda fresh: fresh, random_batch(2, 4, 4, seed=9), 2)["params"]


def adapt(number: int, **chosen):
  _, task = task_of(**chosen)
  return task, trained(
    task, lambda fresh: start.insert(fresh, base(), start.compare(fresh, base(), "refuse")), site(number)
  )


def test_two_sites_beat_their_base_and_leave_each_other_bitwise():
  plain = task_of()[1]
  loss = jax.jit(lambda params, batch: plain.loss_fn(params, batch, jax.random.key(0))["loss"][0])
  first = adapt(0, **LORA)[1]
  second = adapt(1, **LORA)[1]
  for state in (first, second):
    jax.tree.map(np.testing.assert_array_equal, state["params"]["base"], base())
  parts = sites.stack([state["params"]["deltas"] for state in (first, second)])
  weights = [
    task_of(**LORA)[1].weights({"base": base(), "deltas": sites.take(parts, number)}) for number in range(2)
  ]
  for number in range(2):
    own, other, before = (loss(w, site(number)) for w in (weights[number], weights[1 - number], base()))
    assert own < 0.9 * before and own < other
  again = sites.put(parts, 0, jax.tree.map(jnp.zeros_like, sites.take(parts, 0)))
  jax.tree.map(np.testing.assert_array_equal, sites.take(again, 1), second["params"]["deltas"])


@pytest.mark.parametrize("method", ["lora", "adapter", "bias"])
def test_only_what_learns_moves_and_has_moments(method):
  chosen = LORA if method == "lora" else dict(method=method, rank=2 if method == "adapter" else 0)
  task, state = adapt(0, **chosen)
  part = select(state["params"], task.trainable)
  moments = {leaf.size for leaf in jax.tree.leaves(state["opt"]) if leaf.ndim}
  assert moments == {leaf.size for leaf in jax.tree.leaves(part)}
  cost = adaptation.cost(task, state)
  assert cost["optimizer_bytes"] == 2 * 4 * cost["trainable"] + 4 and cost["share"] < 0.2
  home = state["params"]["base"] if method == "lora" else state["params"]
  moved = [
    "/".join(str(key.key) for key in path)
    for path, leaf in jax.tree_util.tree_leaves_with_path(base())
    if not np.array_equal(leaf, functools.reduce(lambda tree, key: tree[key.key], path, home))
  ]
  assert moved == [name for name in moved if method == "bias" and "bias" in name]
  assert bool(moved) == (method == "bias")


def test_a_new_head_learns_beside_an_adapted_base():
  _, task = task_of(**LORA, also="head")
  begun = {}

  def begin(fresh):
    begun.update(flatten_dict(jax.tree.map(np.asarray, fresh)))
    return fresh

  after = flatten_dict(trained(task, begin, site(0), 2)["params"])
  moved = {path for path, leaf in after.items() if not np.array_equal(leaf, begun[path])}
  head = trainable.rule(trainable.HEAD)
  heads = {path for path in after if path[0] == "base" and head(path[1:])}
  assert heads and heads <= moved
  assert {path[0] for path in moved - heads} == {"deltas"}


def test_what_else_learns_beside_a_method_is_named():
  task = task_of(method="prefix", rank=2, also="head")[1]
  shapes = flatten_dict(jax.eval_shape(task.init, jax.random.key(0), site(0))["params"])
  learning = {path for path in shapes if task.trainable(path)}
  head, prefix = trainable.rule(trainable.HEAD), trainable.rule(adapters.PREFIX)
  assert learning == {path for path in shapes if head(path) or prefix(path)}
  assert any(map(head, learning)) and any(map(prefix, learning))


def test_all_weights_and_also_is_refused():
  with pytest.raises(BadInput, match="method none with also 'head'"):
    task_of(also="head")


def test_deltas_lie_on_a_mesh_like_their_weights_and_give_the_same_loss():
  _, task = task_of(**LORA)
  batch, key, losses = site(0), jax.random.key(0), []
  for shape in ((1, 1, 1, 1), (1, 2, 2, 1)):
    mesh = make_mesh(*shape, jax.devices()[: shape[1] * shape[2]])
    spec, _ = abstract_state(task, optax.adam(0.02), mesh, batch, key)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
      lambda leaf, rng=rng: jax.device_put(0.2 * rng.normal(size=leaf.shape).astype("f4"), leaf.sharding),
      spec["params"],
    )
    loss, count = make_eval(task.held_out, mesh)(params, put_batch(batch, mesh), make_key(0, mesh))["loss"]
    losses.append(float(loss / count))
  down = spec["params"]["deltas"]["pair_0"]["time"]["mlp"]["down"]
  assert tuple(down["a"].sharding.spec) == ("tensor", None) and tuple(down["b"].sharding.spec) == (
    None,
    "fsdp",
  )
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
  ("chosen", "words"),
  [
    (dict(method="lora"), "method lora with rank 0"),
    (dict(method="none", rank=2), "method none with rank 2"),
    (dict(method="lora", rank=2), "alpha 0.0"),
    (dict(method="bias", match="x"), "match 'x'"),
    (dict(LORA, match="("), "no regular expression"),
  ],
)
def test_settings_that_contradict_are_named(chosen, words):
  with pytest.raises(BadInput, match=words):
    task_of(**chosen)


def test_a_start_says_what_it_carries():
  fresh = {"base": {"a": jnp.zeros(3), "new": jnp.zeros(2)}, "deltas": {"a": {"b": jnp.zeros(1)}}}
  given = {"a": jnp.ones(3), "old": jnp.ones(2)}
  carried = start.compare(fresh, given, "refuse")
  assert carried == start.Carried(["base/a"], ["base/new", "deltas/a/b"], [], ["old"])
  found = start.insert(fresh, given, carried)
  np.testing.assert_array_equal(found["base"]["a"], np.ones(3))
  np.testing.assert_array_equal(found["base"]["new"], np.zeros(2))
  taught = start.compare({"student": {"a": jnp.zeros(3)}, "teacher": {"a": jnp.zeros(3)}}, given, "refuse")
  assert taught.carried == ["student/a", "teacher/a"]
  driving = {"perception": {"trunk": {"a": jnp.zeros(3)}}, "heads": {"b": jnp.zeros(1)}}
  met = start.compare(
    driving, {"encoder": {"trunk": {"a": jnp.ones(3)}}, "decoder": {"c": jnp.ones(1)}}, "refuse"
  )
  assert met == start.Carried(["perception/trunk/a"], ["heads/b"], [], ["decoder/c"])


def test_a_start_of_another_shape_is_refused_by_name_or_made_anew():
  fresh, given = {"a": jnp.zeros(3), "b": jnp.zeros(2)}, {"a": jnp.ones(4), "b": jnp.ones(2)}
  with pytest.raises(BadInput, match=r"a has shape \[4\] there, \[3\] here"):
    start.compare(fresh, given, "refuse")
  assert start.compare(fresh, given, "fresh").resized == ["a"]
  with pytest.raises(BadInput, match="no weight has a name of this model's"):
    start.compare({"x": jnp.zeros(3)}, given, "fresh")
