"""Models that follow a larger one of their family: the teacher's answers beside what was logged.

Parameters are {"student", TAUGHT_BY}: the teacher travels with its student, so that a run continues by itself, and
is left behind when the student is deployed. Held out, a student is judged by what was logged alone.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from data.errors import BadInput
from data.records import RecordConfig
from experiments.config import Train, from_dict
from experiments.run_directory import read_config
from experiments.task import Task
from experiments.tasks import driving, driving_terms, motion, perception
from objectives import distillation, draws
from objectives.imitation import scale
from objectives.metrics import record_weights
from objectives.next_token import make_loss

TAUGHT_BY = "fixed_teacher"
_WHERE = "config.loss.teacher"
_FOLLOWED = ("plan", "actions")  # heads whose answers are distributions
_OWN = ("plan_spread",)  # heads that judge the student's own answers


def motion_tokens(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """objective = (1 - weight) next_token + weight T^2 KL(teacher || student) + features |s / |s| - t / |t||^2, per
  supervised move, with s and t the last hidden states: a pruned model has as many numbers there as the whole one.

  Raises BadInput when the teacher is no run of a motion model, or its features are of another width.
  """
  student, chosen = motion.next_token(config, dataset_config, domains), config.loss
  taught = dataclasses.replace(_taught(config, ("next_token", "distillation")), loss=chosen)
  teacher = motion.next_token(taught, dataset_config, domains)
  if chosen.features and taught.model.width != config.model.width:
    what = f"the teacher's features have {taught.model.width} numbers, this model's {config.model.width}"
    raise BadInput(what, "config.loss.features", "set it to 0, or choose the same width")

  def loss_fn(params, batch, key):
    logits, hidden = _with_hidden(student, params["student"], batch)
    answers, wanted = _with_hidden(teacher, params[TAUGHT_BY], batch)
    metrics = make_loss(lambda *_: logits, chosen.z_weight, domains)({}, batch, key)
    weight = batch["mask_BxTxA"] * record_weights(batch)[:, None, None]
    soft, count = distillation.predictions(logits, answers, weight, chosen.temperature)
    hard, _ = metrics["objective"]
    objective = (1 - chosen.weight) * hard + chosen.weight * soft
    found = {"distillation": (soft, count)}
    if chosen.features:
      found["features"] = distillation.features(hidden, wanted, weight)
      objective += chosen.features * found["features"][0]
    return metrics | found | {"objective": (objective, count)}

  return _followed(student, teacher, loss_fn)


def _with_hidden(task: Task, params, batch) -> tuple[jax.Array, jax.Array]:
  """(logits, last hidden states) of a motion model."""
  logits, kept = task.model.apply({"params": params}, batch, mutable=["intermediates"])
  return logits, kept["intermediates"]["hidden_BxTxAxD"][0]


def policy(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """objective = (1 - weight) multi_task + weight (plan + actions), the latter two as the teacher answers, per step.

  Weights of the heads are those of multi_task. Both terms judge one set of the student's answers, of a clip that lacks
  sensors by `drop`; the teacher sees all sensors.
  Raises BadInput when the teacher is no run of these heads, or reads images by other patches.
  """
  student, chosen = driving.multi_task(config, dataset_config, domains), config.loss
  taught = _taught(config, ("multi_task", "policy_distillation"))
  teacher = driving.multi_task(taught, dataset_config, domains)
  clips = perception.clip_config(dataset_config)
  weights = driving.weighed(chosen)
  followed = {name: w for name, w in weights.items() if name in _FOLLOWED}
  if chosen.learned or not followed or not set(weights) <= {*_FOLLOWED, *_OWN}:
    what = f"heads {', '.join(weights)}, weights {'learned' if chosen.learned else 'fixed'}"
    raise BadInput(what, "config.loss", f"follow {' and '.join(_FOLLOWED)} only, by fixed weights")
  if missing := [name for name in followed if getattr(taught.loss.weights, name) == 0]:
    raise BadInput(f"the teacher has no head {missing[0]!r}", _WHERE, "choose one that has")
  if taught.loss.density != chosen.density:
    what = f"the teacher's trajectories are {taught.loss.density}"
    raise BadInput(what, "config.loss.density", "choose the same")
  if taught.model.camera_patch != config.model.camera_patch:
    what = f"the teacher's images have patches of {taught.model.camera_patch}"
    raise BadInput(what, "config.model.camera_patch", "choose the same")
  units = driving_terms.units(clips, chosen.ahead)
  encoder = student.model.config.perception
  lose = perception.sensor_dropout(encoder, chosen.drop)
  # Of answers in place of parameters. Its slots are shuffled after they are given: none of these heads reads a slot.
  judge = driving.supervised(lambda answers, _: answers["params"], encoder, clips, chosen, domains)

  def loss_fn(params, batch, key):
    drop_key, judge_key, noise_key = jax.random.split(key, 3)
    seen = lose(batch, drop_key) if chosen.drop else batch
    own = student.model.apply({"params": params["student"]}, seen)
    metrics = judge(own, seen, judge_key)
    wanted = teacher.model.apply({"params": params[TAUGHT_BY]}, batch)
    real_B = record_weights(batch)
    found = {}
    if "plan" in weights:
      ours, theirs = _mixture(own), _mixture(wanted)
      noise = draws.standard(noise_key, batch, theirs[0], chosen.density)
      mask = batch["future_mask_BxTxF"]
      weight_BxT = jnp.broadcast_to(real_B[:, None], mask.shape[:2])
      found["plan"] = distillation.trajectories(ours, theirs, mask, noise, weight_BxT, chosen.density)
    if "actions" in weights:
      moves, weight_BxTxF = "actions_BxTxFxV", batch["actions_mask_BxTxF"] * real_B[:, None, None]
      found["actions"] = distillation.predictions(own[moves], wanted[moves], weight_BxTxF, chosen.temperature)
    total = sum(w / units[name] * found[name][0] for name, w in followed.items())
    hard, count = metrics["objective"]
    objective = (1 - chosen.weight) * hard + chosen.weight * total
    said = {f"{name}_distillation": value for name, value in found.items()}
    return metrics | said | {"objective": (objective, count)}

  task = _followed(student, teacher, loss_fn)
  both = tuple(dict.fromkeys((*student.fields, *teacher.fields)))
  return dataclasses.replace(
    task, fields=both, to_batch=lambda stacked: teacher.to_batch(stacked) | student.to_batch(stacked)
  )


def _mixture(answers: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(mean, scale, logits) of the plan."""
  return answers["plan_mean_BxTxNxFx2"], scale(answers["plan_scale_BxTxNxFx2"]), answers["plan_logits_BxTxN"]


def _taught(config: Train, objectives: tuple[str, ...]) -> Train:
  """The teacher's configuration; raises BadInput when it answers something else.

  Its adapters and prefixes are part of the model, whichever of its weights have learned.
  """
  taught = from_dict(read_config(config.loss.teacher))
  if taught.family != config.family or taught.objective not in objectives:
    what = f"the teacher is of family {taught.family}, objective {taught.objective}"
    raise BadInput(what, _WHERE, f"choose a run of family {config.family}, of {' or '.join(objectives)}")
  return taught


def _followed(student: Task, teacher: Task, loss_fn: Callable) -> Task:
  """The student with its teacher beside it, which neither learns nor is judged."""

  def init(key, batch):
    both = {"student": student.init(key, batch)["params"], TAUGHT_BY: teacher.init(key, batch)["params"]}
    return {"params": both}

  read = student.embed
  assert read is not None  # both families have features
  # A teacher goes forward alone, a third of training. Without `tokens`, both count the same ones of a record.
  answered = teacher.model.config.flops_per_token() * (teacher.tokens or 1) // 3
  return dataclasses.replace(
    student,
    init=init,
    loss_fn=loss_fn,
    held_out=lambda params, batch, key: student.held_out(params["student"], batch, key),
    embed=lambda params, batch: read(params["student"], batch),
    trainable=lambda path: path[0] == "student",
    beside=answered // (student.tokens or 1),
    weights=lambda params: params["student"],
  )
