"""A motion model that follows a larger one: the teacher's answers beside the logged moves.

Parameters are {"student", TAUGHT_BY}: the teacher travels with its student, so that a run continues by itself, and
is left behind when the student is deployed.
"""

import dataclasses

from data.errors import BadInput
from data.records import RecordConfig
from experiments.config import Adaptation, Train, from_dict
from experiments.run_directory import read_config
from experiments.task import Task
from experiments.tasks import motion
from models.motion import embed
from objectives import distillation
from objectives.metrics import record_weights
from objectives.next_token import make_loss

TAUGHT_BY = "fixed_teacher"


def motion_tokens(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """objective = (1 - weight) next_token + weight T^2 KL(teacher || student), per supervised move.

  Raises BadInput when the teacher is no run of a motion model.
  """
  student, chosen = motion.next_token(config, dataset_config, domains), config.loss
  taught = from_dict(read_config(chosen.teacher))
  if taught.family != config.family:
    what = f"the teacher is of family {taught.family}"
    raise BadInput(what, "config.loss.teacher", f"choose a run of family {config.family}")
  whole = dataclasses.replace(taught, adaptation=Adaptation("none", 0, 0.0, "", ""), loss=config.loss)
  teacher = motion.next_token(whole, dataset_config, domains)

  def init(key, batch):
    both = {"student": student.init(key, batch)["params"], TAUGHT_BY: teacher.init(key, batch)["params"]}
    return {"params": both}

  def loss_fn(params, batch, key):
    logits = student.model.apply({"params": params["student"]}, batch)
    answers = teacher.model.apply({"params": params[TAUGHT_BY]}, batch)
    metrics = make_loss(lambda *_: logits, chosen.z_weight, domains)({}, batch, key)
    weight = batch["mask_BxTxA"] * record_weights(batch)[:, None, None]
    soft, count = distillation.predictions(logits, answers, weight, chosen.temperature)
    hard, _ = metrics["objective"]
    objective = (1 - chosen.weight) * hard + chosen.weight * soft
    return metrics | {"objective": (objective, count), "distillation": (soft, count)}

  return dataclasses.replace(
    student,
    init=init,
    loss_fn=loss_fn,
    held_out=lambda params, batch, key: student.held_out(params["student"], batch, key),
    embed=lambda params, batch: embed(student.model, params["student"], batch),
    trainable=lambda path: path[0] == "student",
    weights=lambda params: params["student"],
  )
