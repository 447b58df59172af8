"""The learned tokeniser of bird's-eye views: clips, and their cells to be told from a few codes."""

import functools

from data.clips import CELL_CLASSES, ClipConfig
from data.errors import BadInput
from data.records import RecordConfig
from experiments.config import Train
from experiments.task import Path, Task, record_batch
from experiments.tasks.trunks import trunk_config
from models import vq
from models.bev_tokeniser import BevTokeniser
from models.bev_tokeniser_config import BevTokeniserConfig
from objectives.reconstruction import make_loss

FIELDS = ("cells_TxHxW", "domain")
_CODEBOOK = "quantiser"


def reconstruction(config: Train, dataset_config: RecordConfig, domains: int) -> Task:
  """The codebook has no gradient: it follows the vectors that chose its codes, step by step."""
  if not isinstance(dataset_config, ClipConfig):
    what = f"family bev_tokeniser reads clips, the dataset holds {dataset_config.kind}"
    raise BadInput(what, "config.data.dataset", "choose a dataset of clips")
  try:
    model = BevTokeniser(model_config(config, dataset_config))
  except ValueError as error:
    raise BadInput(str(error), "config.model", "choose another shape") from None
  loss, codes = config.loss, model.config.vocabulary
  learned = not model.config.levels
  if learned and config.optimizer.accumulate > 1:
    # Micro-batches add up: a sum of vectors is no vector of the batch, and a code that died needs one.
    what = f"a codebook that is learned takes its batch whole, not in {config.optimizer.accumulate} parts"
    raise BadInput(what, "config.optimizer.accumulate", "set it to 1, or choose model.levels")

  def codebook(x_NxE, index_N, weight_N, key):
    return vq.sums(x_NxE, index_N, weight_N, codes), vq.candidates(x_NxE, codes, key)

  loss_fn = make_loss(
    model.apply,
    functools.partial(vq.uses, codes=codes),
    codebook if learned else None,
    loss.commitment if learned else 0.0,
    domains,
  )

  def follow(params, metrics, step):
    del step
    sums_KxE, counts_K = metrics["codes"]
    book = vq.follow(params[_CODEBOOK], sums_KxE, counts_K, loss.decay)
    vectors_KxE, _ = metrics["candidates"]
    return params | {_CODEBOOK: vq.revive(book, vectors_KxE, loss.least)}

  def trainable(path: Path) -> bool:
    return path[0] != _CODEBOOK

  def embed(params, batch):
    return model.apply({"params": params}, batch["cells_BxTxHxW"], method="embed").mean((1, 2))

  return Task(
    model,
    model.init,
    loss_fn,
    loss_fn,
    FIELDS,
    record_batch(FIELDS),
    embed=embed,
    trainable=trainable,
    after=follow if learned else None,
  )


def model_config(config: Train, clip: ClipConfig) -> BevTokeniserConfig:
  """The tokeniser of a configuration on clips of these shapes; ValueError when there is none."""
  shape = config.model
  plain = dict(mixing="full", state=0, chunk=0, causal=False, block=0, adapter=0, prefix=0, heads=0, hidden=0)
  trunk = trunk_config(config, 1, (clip.grid // shape.patch) ** 2, **plain)
  levels = tuple(shape.levels)
  return BevTokeniserConfig(
    clip.grid, shape.patch, len(CELL_CLASSES), levels, shape.codes, shape.code_dim, trunk
  )
