"""The world model over codes: windows of frames, and every code to be told from those before it."""

import jax.numpy as jnp

from data.codes import CodesConfig as Windows
from data.errors import BadInput
from data.records import RecordConfig
from experiments.adaptation import room
from experiments.config import Train
from experiments.task import Task, record_batch
from models.codes import CodesModel
from models.codes_config import CodesConfig
from models.trunk_config import TrunkConfig
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

  def trunk(layers: int, steps: int, space: int) -> TrunkConfig:
    return TrunkConfig(
      width=shape.width,
      layers=layers,
      head_dim=shape.head_dim,
      mixing=shape.mixing,
      state=shape.state,
      chunk=shape.chunk,
      causal=True,
      steps=steps,
      space=space,
      dtype=shape.dtype,
      scan=shape.scan,
      remat=shape.remat,
      block=shape.block,
      adapter=room(config.adaptation, "adapter"),
      prefix=room(config.adaptation, "prefix"),
    )

  past = trunk(shape.past_layers, windows.steps, windows.places + 1)
  frame = trunk(shape.frame_layers, windows.places, 1)
  return CodesConfig(windows.codes, windows.actions, past, frame)
