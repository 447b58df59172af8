"""Perception with a contrast of its sensors: which sweep belongs to which image."""

from data.records import RecordConfig
from experiments.config import Train
from experiments.task import Task
from experiments.tasks import perception
from models.projection import Contrastive
from models.projection_config import ContrastiveConfig
from objectives.contrastive import make_loss


def contrastive(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  clips = perception.clip_config(dataset_config)
  encoder = perception.perception_config(config, clips)
  views = tuple(config.loss.views.split(","))
  model = Contrastive(
    perception.build(ContrastiveConfig, encoder, views, config.loss.hidden, config.loss.outputs)
  )
  return perception.task(
    encoder,
    clips,
    drop=0.0,  # every view reads one sensor alone
    model=model,
    init=model.init,
    loss_fn=make_loss(model.apply, domains),
    embed=lambda params, batch: model.apply({"params": params}, batch, method="embed"),
    compares=True,
  )
