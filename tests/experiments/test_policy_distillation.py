"""Policies that follow a finished one: what its student sees, what is run, and what it may be asked."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.errors import BadInput
from experiments import config as configs
from experiments.configs import driving, driving_distil
from experiments.task import make_task
from experiments.tasks import perception
from experiments.tasks.distillation import TAUGHT_BY
from objectives import distillation
from tests.experiments.test_driving_tasks import _clips, _values
from tests.experiments.test_perception_tasks import CLIPS, ROWS
from tests.weights import drawn


def _student(tmp_path, teaches=None, **loss):
  """A student's task, and the teacher's of the same shape, but for what `teaches` changes."""
  shape, teacher = _values("policy")["model"], _values("policy")
  teacher["model"] |= teaches or {}
  (tmp_path / "config.json").write_text(json.dumps(teacher))
  values = driving_distil.get_config("tiny").to_dict()
  own = dict(teacher=str(tmp_path), weight=0.5, temperature=2.0) | loss
  values |= {"model": shape} | {name: teacher[name] for name in ("optimizer", "data")}
  values["loss"] = teacher["loss"] | own
  return tuple(make_task(configs.from_dict(one), CLIPS, 2) for one in (values, teacher))


def test_a_policy_that_is_its_teacher_has_nothing_to_follow(tmp_path):
  """Its moves are those of the teacher; held out it is judged as the teacher is, and it alone learns."""
  student, teacher = _student(tmp_path)
  stacked = _clips()
  batch = student.to_batch({field: stacked[field] for field in student.fields})
  weights = drawn(student.init, batch)[TAUGHT_BY]
  params = {"student": weights, TAUGHT_BY: weights}
  followed = jax.jit(student.loss_fn)(params, batch, jax.random.key(1))
  plain = jax.jit(teacher.loss_fn)(weights, batch, jax.random.key(1))
  assert abs(followed["actions_distillation"][0]) < 1e-4 * followed["actions"][0]
  soft = driving_loss(followed, CLIPS)
  np.testing.assert_allclose(followed["objective"][0], 0.5 * plain["objective"][0] + 0.5 * soft, rtol=1e-5)
  held = jax.jit(student.held_out)(params, batch, jax.random.key(2))
  np.testing.assert_array_equal(
    held["loss"][0], jax.jit(teacher.held_out)(weights, batch, jax.random.key(2))["loss"][0]
  )
  assert student.weights(params) is weights
  assert student.trainable(("student", "heads")) and not student.trainable((TAUGHT_BY, "heads"))


def _by_its_teacher(student):
  """(params, batch): a student with the weights of its teacher, none of them zero, and clips."""
  stacked = _clips()
  batch = student.to_batch({field: stacked[field] for field in student.fields})
  weights = drawn(student.init, batch)[TAUGHT_BY]
  return {"student": weights, TAUGHT_BY: weights}, batch


def test_a_student_that_lacks_sensors_follows_a_teacher_that_has_them(tmp_path):
  """Either term is of one set of answers, of the clips as the student sees them: with drop = 1, one sensor of two."""
  student, _ = _student(tmp_path, drop=1.0)
  key = jax.random.key(1)
  params, batch = _by_its_teacher(student)
  there_BxM = jnp.ones((ROWS, 2), bool)
  drop_key = jax.random.split(key, 3)[0]
  seen = perception.sensor_dropout(student.model.config.perception, 1.0)(batch, drop_key)
  assert (seen["sensed_BxM"].sum(1) == 1).all()
  answer = jax.jit(student.model.apply)
  own, whole = (
    answer({"params": params["student"]}, batch | {"sensed_BxM": sensed_BxM})["actions_BxTxFxV"]
    for sensed_BxM in (seen["sensed_BxM"], there_BxM)
  )
  mask = batch["actions_mask_BxTxF"].astype(np.float32)
  found = jax.jit(student.loss_fn)(params, batch, key)
  expected, _ = distillation.predictions(own, whole, mask, 2.0)
  assert expected > 1e-3 * mask.sum()
  np.testing.assert_allclose(found["actions_distillation"][0], expected, rtol=1e-3)
  logged = -jnp.take_along_axis(jax.nn.log_softmax(own), batch["actions_BxTxF"][..., None].astype(int), -1)
  np.testing.assert_allclose(found["actions"][0], (logged[..., 0] * mask).sum(), rtol=1e-4)


def _multiplied(function, *args) -> float:
  """FLOPs of the program before it is compiled; a loop over layers counts once."""
  return jax.jit(function).lower(*args).cost_analysis()["flops"]


def test_a_teacher_and_one_pass_of_its_student_are_run_and_counted(tmp_path):
  """A third of a training step is its forward pass; the teacher here has another sensor, and more tokens to answer."""
  student, teacher = _student(tmp_path)
  stacked, key = _clips(), jax.random.key(0)
  batch = student.to_batch({field: stacked[field] for field in student.fields})
  params = nn.unbox(jax.eval_shape(student.init, key, batch)["params"])
  both = _multiplied(student.loss_fn, params, batch, key)
  assert 1.8 < both / _multiplied(teacher.loss_fn, params["student"], batch, key) < 2.2
  own = student.model.config.flops_per_token()
  assert student.flops_per_token() == own + own // 3 and teacher.flops_per_token() == own
  other = _student(tmp_path, teaches=dict(width=32, sensors="ego,raster,lidar"))
  a_clip = [task.model.config.flops_per_token() * task.tokens for task in other]
  assert other[1].tokens > other[0].tokens and a_clip[1] > 2 * a_clip[0]
  assert other[0].flops_per_token() * other[0].tokens == pytest.approx(a_clip[0] + a_clip[1] / 3, rel=1e-4)


def driving_loss(found, clips) -> float:
  """Of the teacher's answers, at weights of one: nats per point and move over what a step can ask."""
  return sum(found[f"{name}_distillation"][0] for name in ("plan", "actions")) / clips.futures


@pytest.mark.parametrize(
  ("loss", "match"),
  [
    (dict(learned=True), "weights learned"),
    (dict(weights=driving.NO_HEADS | dict(occupancy=1.0)), "heads occupancy"),
    (dict(density="gaussian"), "trajectories are laplace"),
  ],
)
def test_a_policy_follows_what_its_teacher_answers(tmp_path, loss, match):
  with pytest.raises(BadInput, match=match):
    _student(tmp_path, **loss)
