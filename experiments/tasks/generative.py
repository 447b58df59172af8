"""Driving, generative: flow matching and diffusion of what comes next, given what the sensors have seen so far.

target "plan": the ego's own trajectory, as it differs from going straight on at the same speed. "cells": the next
step's BEV classes, patch by patch. Held-out data are also sampled, and samples compared with what came.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from data.clips import CELL_CLASSES, ClipConfig
from data.records import RecordConfig
from experiments.config import Train
from experiments.task import Task, record_batch
from experiments.tasks import perception
from models import geometry
from models.denoiser import ConditionalDenoiser
from models.denoiser_config import ConditionalConfig, DenoiserConfig
from models.heads import STRAY_M
from models.perception import summary
from models.reading_config import ReadConfig
from models.sensors import patches, unpatch
from models.sensors_config import GridConfig
from objectives import diffusion, draws, flow_matching, imitation, metrics, segmentation

# Of the data that diffusion guesses on its way. Targets have about unit scale: only the wildest guess is stopped.
BOUND = 10.0
LABELS = {"plan": ("ego_TxS", "future_TxFx2", "future_mask_TxF"), "cells": ("cells_TxHxW",)}


def flow(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  loss = config.loss

  def make_loss(apply, target):
    return flow_matching.make_loss(apply, target, loss.sigma_min, domains)

  def sample(answer, noise, key_B):
    del key_B  # a flow is deterministic
    return flow_matching.sample(answer, noise, loss.sample_steps, "heun")

  return _task(config, dataset_config, make_loss, sample)


def diffuse(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  loss, schedule = config.loss, diffusion.cosine_schedule(config.loss.noise_steps)

  def make_loss(apply, target):
    return diffusion.make_loss(apply, target, schedule, domains)

  def sample(answer, noise, key_B):
    return diffusion.sample(answer, noise, key_B, schedule, loss.sample_steps, loss.eta, BOUND)

  return _task(config, dataset_config, make_loss, sample)


def _task(config: Train, dataset_config: RecordConfig, make_loss: Callable, sample: Callable) -> Task:
  clips = perception.clip_config(dataset_config)
  encoder = perception.perception_config(config, clips)
  kind: Plan | Cells = Plan(clips) if config.loss.target == "plan" else Cells(clips, config.loss.patch)
  shape = config.loss.denoiser
  model = ConditionalDenoiser(
    perception.build(
      lambda: ConditionalConfig(
        encoder,
        DenoiserConfig(
          shape.layers,
          kind.tokens,
          kind.channels,
          ReadConfig(shape.width, config.model.width, shape.head_dim, config.model.dtype),
          config.model.scan,
          kind.grid,
        ),
        kind.skipped,
      )
    )
  )
  loss_fn = make_loss(model.apply, kind.target)

  def held_out(params, batch, key):
    noise_key, sample_key = jax.random.split(draws.aside(key))  # the loss takes `key` itself
    x, valid = model.apply({"params": params}, batch, method="tokens")

    def answer(z, time_B):
      return model.apply({"params": params}, x, valid, z, time_B, method="denoise")

    def draw(keys):
      noise = draws.normal(keys[0], batch, kind.target(batch)[0])
      return sample(answer, noise, draws.keys(keys[1], batch))

    keys = jax.random.split(noise_key, config.loss.samples), jax.random.split(sample_key, config.loss.samples)
    samples = jax.lax.map(draw, keys)
    return loss_fn(params, batch, key) | kind.judge(samples, batch)

  labels = LABELS[config.loss.target]
  rename, rename_labels = perception.to_batch(encoder, clips), record_batch(labels)
  return Task(
    model=model,
    init=lambda key, batch: model.init(key, batch, kind.target(batch)[0], jnp.zeros(len(batch["real_B"]))),
    loss_fn=perception.lacking(encoder, config.loss.drop, loss_fn),
    held_out=held_out,
    fields=tuple(dict.fromkeys(perception.fields(encoder) + labels)),
    to_batch=lambda stacked: rename(stacked) | rename_labels(stacked),
    embed=lambda params, batch: summary(*model.apply({"params": params}, batch, method="tokens")),
    tokens=encoder.tokens,
  )


class Plan:
  """The ego's trajectory [B, T, F, 2], in units of STRAY_M per step from constant velocity."""

  skipped, channels, grid = 0, 2, None

  def __init__(self, clips: ClipConfig):
    self.clips, self.tokens = clips, clips.futures

  def _straight_on(self, batch):
    return geometry.ego_straight_on(batch["ego_BxTxS"], self.clips.futures, self.clips.step_seconds)

  def _unit(self):
    """Metres [1, 1, F, 1]: how far the ego strays by each step, so that targets have about unit scale."""
    return (STRAY_M * jnp.arange(1, self.clips.futures + 1))[None, None, :, None]

  def target(self, batch):
    return (batch["future_BxTxFx2"] - self._straight_on(batch)) / self._unit(), batch["future_mask_BxTxF"]

  def judge(self, samples_NxBxTxFx2, batch) -> metrics.Metrics:
    """Metres, per step of a clip: to the best sample, to the mean of samples, of going straight on."""
    straight = self._straight_on(batch)
    future, mask = batch["future_BxTxFx2"], batch["future_mask_BxTxF"] & batch["real_B"][:, None, None]
    drawn = jnp.moveaxis(samples_NxBxTxFx2 * self._unit()[None] + straight[None], 0, 2)
    some = mask.any(-1)

    def error(modes):
      return imitation.displacement(future, mask, modes)

    return {
      "minADE": metrics.weighted(error(drawn).min(-1), some),
      "ADE": metrics.weighted(error(drawn.mean(2, keepdims=True))[..., 0], some),
      "constant_velocity": metrics.weighted(error(straight[:, :, None])[..., 0], some),
    }


class Cells:
  """BEV classes of the next step [B, T - 1, S, V patch^2], each class -1 or 1."""

  skipped = 1

  def __init__(self, clips: ClipConfig, patch: int):
    self.grid = GridConfig(clips.grid, patch, clips.cell_m, clips.rear_m)
    self.tokens, self.channels = self.grid.places, len(CELL_CLASSES) * patch**2
    self.size = (clips.grid, clips.grid)

  def target(self, batch):
    classes = 2 * jax.nn.one_hot(batch["cells_BxTxHxW"][:, 1:], len(CELL_CLASSES)) - 1
    data = patches(classes, self.grid.patch, 1)
    return data, jnp.ones(data.shape[:-1], bool)

  def judge(self, samples_NxBxTxSxC, batch) -> metrics.Metrics:
    """Of the mean sample's classes; "copy_accuracy" is that of the step before."""
    cells = batch["cells_BxTxHxW"]
    mask = jnp.broadcast_to(batch["real_B"][:, None, None, None], cells[:, 1:].shape)
    scores = unpatch(samples_NxBxTxSxC.mean(0), self.size, self.grid.patch, 1)
    found = segmentation.loss(scores, cells[:, 1:], mask)
    return {
      "accuracy": tuple(value.sum(0) for value in found["accuracy"]),
      "iou": tuple(value.sum(0) for value in found["iou"]),
      "copy_accuracy": metrics.weighted(cells[:, 1:] == cells[:, :-1], mask),
    }
