"""What does not learn by gradient: frozen leaves, an average that teaches, statistics; and what is reported."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import mesh as meshes
from experiments import step as steps
from experiments.task import Task
from models.trainable import nbytes

RATE, DECAY, WIDTH, CODES = 0.1, 0.75, 8, 4
X = np.random.default_rng(0).normal(size=(16, WIDTH)).astype(np.float32)


def _init(key, batch):
  """Student and teacher start alike; "codes" are nobody's gradient."""
  del key, batch
  part = nn.with_logical_partitioning(lambda: jnp.ones((WIDTH, WIDTH)) / WIDTH, ("embed", "mlp"))
  table = nn.with_logical_partitioning(lambda: jnp.zeros(CODES), (None,))
  return {
    "params": {"student": {"w": part()}, "teacher": {"w": part()}, "frozen": {"b": part()}, "codes": table()}
  }


def _loss(params, batch, key):
  """Sum over records of |x (student + frozen) - x teacher - 1|^2; each record votes for a code by its sign."""
  del key
  x = batch["x_BxD"]
  y = x @ (params["student"]["w"] + params["frozen"]["b"]) - x @ params["teacher"]["w"] - 1.0
  votes = jax.nn.one_hot((x[:, 0] > 0).astype(jnp.int32), CODES)
  error, count = (y**2).sum(), jnp.float32(len(x))
  return {
    "objective": (error, count), "loss": (error, count), "rank": (jnp.float32(3.5), jnp.float32(1.0)),
    "by_domain": (jnp.ones(2), jnp.ones(2)), "codes": (votes[..., None].repeat(WIDTH, -1).sum(0), votes.sum(0)),
  }  # fmt: skip


def _after(params, metrics, step):
  """The teacher follows the student as it is after the update; the codes count, and steps are counted from 0."""
  teacher = jax.tree.map(lambda t, s: DECAY * t + (1 - DECAY) * s, params["teacher"], params["student"])
  return params | {"teacher": teacher, "codes": params["codes"] + metrics["codes"][1] + 100.0 * step}


TASK = Task(
  None, _init, _loss, _loss, (), lambda stacked: stacked,
  trainable=lambda path: path[0] == "student", after=_after, tokens=7,
)  # fmt: skip


def _setup(task, mesh, tx=None, accumulate=1):
  tx = tx or optax.sgd(RATE)
  key, batch = meshes.make_key(0, mesh), {"x_BxD": X}
  spec, init = steps.abstract_state(task, tx, mesh, batch, key)
  step = steps.make_step(task, tx, mesh, spec, accumulate)
  return init(key), step, meshes.put_batch(batch, mesh), key


def _one():
  return meshes.make_mesh(1, 1, 1, 1, jax.devices()[:1])


def _host(tree):
  return jax.tree.map(np.asarray, tree)


def test_an_update_moves_the_student_its_teacher_follows_and_the_frozen_stay():
  state, step, batch, key = _setup(TASK, _one())
  before = _host(state["params"])
  state, metrics = step(state, batch, key)
  after = _host(state["params"])
  w = before["student"]["w"]
  error = X.astype(np.float64) @ w - 1.0  # frozen and teacher cancel
  gradient = 2 * X.T.astype(np.float64) @ error / len(X)
  np.testing.assert_allclose(after["student"]["w"], w - RATE * gradient, rtol=1e-5)
  np.testing.assert_allclose(
    after["teacher"]["w"], DECAY * w + (1 - DECAY) * after["student"]["w"], rtol=1e-6
  )
  np.testing.assert_array_equal(after["frozen"]["b"], before["frozen"]["b"])
  positive = (X[:, 0] > 0).sum()
  np.testing.assert_array_equal(after["codes"], [len(X) - positive, positive, 0, 0])
  assert float(metrics["gradient_norm"]) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
  assert metrics.keys() == {"loss", "rank", "tokens", "gradient_norm", "finite"}
  assert float(metrics["rank"]) == 3.5 and float(metrics["tokens"]) == 7 * len(X)
  state, _ = step(state, batch, key)
  np.testing.assert_array_equal(state["params"]["codes"], 2 * after["codes"] + 100)


def test_a_step_that_is_not_finite_moves_no_average_and_no_codes():
  state, step, batch, key = _setup(TASK, _one(), optax.adam(RATE))
  state, _ = step(state, batch, key)  # student and teacher differ from here on
  before = _host(state)
  state, metrics = step(state, {"x_BxD": batch["x_BxD"].at[0, 0].set(jnp.nan)}, key)
  assert float(metrics["finite"]) == 0 and int(state["step"]) == 2
  jax.tree.map(np.testing.assert_array_equal, _host(state["params"]), before["params"])
  jax.tree.map(np.testing.assert_array_equal, _host(state["opt"]), before["opt"])
  state, _ = step(state, batch, key)
  assert (np.asarray(state["params"]["teacher"]["w"]) != before["params"]["teacher"]["w"]).any()


def test_only_what_learns_has_moments():
  state, *_ = _setup(TASK, _one(), optax.scale_by_adam())
  assert nbytes(state["opt"]) == 2 * nbytes(state["params"]["student"]) + 4  # and the count of steps
  whole = dataclasses.replace(TASK, trainable=lambda path: True)
  state, *_ = _setup(whole, _one(), optax.scale_by_adam())
  assert nbytes(state["opt"]) == 2 * nbytes(state["params"]) + 4


def test_a_leaf_that_is_named_trainable_would_move():
  """The planted fault of the first test: without `trainable` the frozen leaf has a gradient."""
  state, step, batch, key = _setup(dataclasses.replace(TASK, trainable=lambda path: True), _one())
  before = np.asarray(state["params"]["frozen"]["b"])
  state, _ = step(state, batch, key)
  assert (np.asarray(state["params"]["frozen"]["b"]) != before).any()


@pytest.mark.parametrize(("shape", "accumulate"), [((8, 1, 1, 1), 1), ((2, 2, 2, 1), 1), ((1, 1, 1, 1), 4)])
def test_meshes_and_micro_batches_change_nothing(shape, accumulate):
  def run(mesh, accumulate):
    state, step, batch, key = _setup(TASK, mesh, optax.adam(RATE), accumulate)
    for _ in range(3):
      state, metrics = step(state, batch, key)
    return state, _host(metrics)

  state, metrics = run(meshes.make_mesh(*shape, jax.devices()[: int(np.prod(shape))]), accumulate)
  expected, expected_metrics = run(_one(), 1)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    _host(state["params"]),
    _host(expected["params"]),
  )
  for name, value in expected_metrics.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
  if shape == (2, 2, 2, 1):
    for part in ("student", "teacher"):
      assert tuple(state["params"][part]["w"].sharding.spec) == ("fsdp", "tensor")
    assert tuple(state["opt"][0].mu["student"]["w"].sharding.spec) == ("fsdp", "tensor")
