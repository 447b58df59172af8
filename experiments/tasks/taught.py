"""Perception taught by its own moving average: prototypes (self-distillation), or embeddings (JEPA).

Parameters are {"student": ..., "teacher": ...}; only the student has gradients. The teacher is what probes read, what
a later stage starts with, and what is deployed: averages of weights are better than the weights (A. Tarvainen and
H. Valpola, arXiv:1703.01780), and both papers evaluate the teacher. The loss ranks no runs: teacher and student agree
best on features that say nothing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from data.records import RecordConfig
from experiments.config import Train
from experiments.losses import Hiding
from experiments.task import Task
from experiments.tasks import perception
from models.masked_autoencoder import JointEmbedding
from models.perception import PerceptionModel, summary
from models.perception_config import PerceptionConfig
from models.predictor_config import JointEmbeddingConfig
from models.projection import Prototypes
from models.projection_config import PrototypeConfig
from objectives import jepa as joint
from objectives import masks
from objectives import self_distillation as distillation
from objectives.teacher import follow, momentum


def jepa(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """The teacher is an encoder only: the student's predictor is deployed beside it."""
  clips, loss = perception.clip_config(dataset_config), config.loss
  encoder = perception.perception_config(config, clips)
  narrow = perception.predictor_trunk(encoder, loss.predictor)
  slots = perception.visible(encoder, loss.hide)
  model = JointEmbedding(perception.build(JointEmbeddingConfig, encoder, narrow, slots))
  teacher = PerceptionModel(encoder)
  total = perception.steps(config, encoder.tokens)

  def init(key, batch):
    student = model.init(key, batch, jnp.zeros_like)["params"]
    return {"params": {"student": student, "teacher": student["encoder"]}}

  def after(params, metrics, step):
    m = momentum(loss.momentum, step, total)
    return params | {"teacher": follow(params["teacher"], params["student"]["encoder"], m)}

  return perception.task(
    encoder,
    clips,
    drop=loss.drop,
    model=model,
    init=init,
    loss_fn=joint.make_loss(model.apply, teacher.apply, perception.hider(encoder, loss.hide), domains),
    embed=lambda params, batch: summary(*teacher.apply({"params": params["teacher"]}, batch)),
    trainable=_is_student,
    after=after,
    weights=lambda params: params["student"] | {"encoder": params["teacher"]},
    ranks=False,
  )


def self_distillation(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """The teacher is all of the student, and "centre" what its scores have in common."""
  clips, loss = perception.clip_config(dataset_config), config.loss
  encoder = perception.perception_config(config, clips)
  slots = perception.visible(encoder, loss.hide)
  model = Prototypes(PrototypeConfig(encoder, loss.hidden, loss.outputs, loss.prototypes, slots, loss.views))
  loss_fn = distillation.make_loss(
    lambda variables, batch, hide: model.apply(variables, batch, hide, slots),
    lambda variables, batch: model.apply(variables, batch, jnp.zeros_like, encoder.trunk.space),
    _views(encoder, loss.hide, loss.drop),
    loss.views,
    loss.student_temperature,
    loss.teacher_temperature,
    loss.sinkhorn_rounds,
    domains,
  )
  total = perception.steps(config, encoder.tokens)

  def init(key, batch):
    student = model.init(key, batch, jnp.zeros_like, encoder.trunk.space)["params"]
    return {"params": {"student": student, "teacher": student, "centre": jnp.zeros(loss.prototypes)}}

  def after(params, metrics, step):
    m = momentum(loss.momentum, step, total)
    return {
      "student": params["student"],
      "teacher": follow(params["teacher"], params["student"], m),
      "centre": distillation.follow_centre(params["centre"], metrics["teacher_scores"], loss.centre_momentum),
    }

  return perception.task(
    encoder,
    clips,
    drop=0.0,  # its views lack sensors, each for itself
    model=model,
    init=init,
    loss_fn=loss_fn,
    embed=lambda params, batch: model.apply({"params": params["teacher"]}, batch, method="embed"),
    trainable=_is_student,
    after=after,
    weights=lambda params: params["teacher"],
    ranks=False,
    compares=True,
  )


def _is_student(path: tuple[str, ...]) -> bool:
  return path[0] == "student"


def _views(config: PerceptionConfig, hide: Hiding, drop: float) -> Callable:
  """(key, valid_BxTxS) -> bool [B, T, S]: tokens hidden by mask, and all those of sensors that are dropped."""
  mask = perception.hider(config, hide)
  places = tuple(sensor.places for sensor in config.sensors.values())

  def view(key, valid_BxTxS):
    lost_key, mask_key = jax.random.split(key)
    return masks.drop_sensors(lost_key, valid_BxTxS, places, drop) | mask(mask_key, valid_BxTxS)

  return view
