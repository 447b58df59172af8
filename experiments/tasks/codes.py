"""The world model over codes: windows of frames, and every code to be told from those before it."""

import jax.numpy as jnp

from data.codes import CodesConfig as Windows
from data.errors import BadInput
from data.records import RecordConfig
from experiments.config import Train
from experiments.task import Task, record_batch
from experiments.tasks.trunks import trunk_config
from models.codes import CodesModel
from models.codes_config import CodesConfig
from objectives.next_token import make_codes_loss

FIELDS = ("codes_TxS", "actions_T", "mask_T", "domain")


def next_token(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """A record that fills up a batch has no frame, and so counts nothing."""
  if not isinstance(dataset_config, Windows):
    what = f"family codes reads codes, the dataset holds {dataset_config.kind}"
    raise BadInput(what, "config.data.dataset", "choose a dataset of codes")
  try:
    model = CodesModel(model_config(config, dataset_config))
  except ValueError as error:
    raise BadInput(str(error), "config.model", "choose another shape") from None
  loss_fn = make_codes_loss(model.apply, config.loss.z_weight, domains)

  def embed(params, batch):
    """What the window says of the frame after it, averaged over that frame's places."""
    codes, actions = (batch[name].astype(jnp.int32) for name in ("codes_BxTxS", "actions_BxT"))
    return model.apply({"params": params}, codes, actions, method="look_back")[:, -1].mean(1)

  return Task(model, model.init, loss_fn, loss_fn, FIELDS, record_batch(FIELDS), embed=embed)


def model_config(config: Train, windows: Windows) -> CodesConfig:
  """The model of a configuration on windows of these shapes; ValueError when there is none."""
  shape = config.model
  past = trunk_config(config, windows.steps, windows.places + 1, layers=shape.past_layers, causal=True)
  frame = trunk_config(config, windows.places, 1, layers=shape.frame_layers, causal=True)
  return CodesConfig(windows.codes, windows.actions, past, frame)
