"""A fleet that compiles in no time: unigrams of streams whose two kinds have other tokens in plenty."""

import dataclasses
import pathlib
import types

import jax
import jax.numpy as jnp

from data import dataset_writer, datasets, markov
from data.windows import WindowConfig
from experiments.configs import fleet as config_file
from experiments.task import Task, batch_name

DOMAINS = ("order_0", "order_1")
STREAMS = {"train": 6, "tune": 8, "validation": 2}  # of each domain
FIELDS = ("tokens_TxA", "mask_TxA", "domain")


def write(out: pathlib.Path) -> datasets.Dataset:
  """A dataset of streams, each a scene of its own."""
  window = WindowConfig(dt=0.5, steps=8, agents=4, points=64, stops=2, phases=1, least_moves=4)
  splits = [split for split, count in STREAMS.items() for _ in range(count)]
  jobs = markov.plan(0, len(splits), 16, 0.5, DOMAINS)
  examples = [
    (split, None, markov.windows(dataclasses.replace(job, steps=16), window, DOMAINS.index(job.domain)))
    for number, split in enumerate(splits)
    for job in jobs[number :: len(splits)]
  ]
  dataset_writer.write_dataset(
    out, examples, window, DOMAINS, tuple(STREAMS), {"source": "markov"}, ("windows",)
  )
  return datasets.open_dataset(out)


def values(dataset: datasets.Dataset, **changes) -> dict:
  """A vehicle for each stream of the training split; groups of `changes` are merged into theirs."""
  made = config_file.get_config("tiny").to_dict()
  made["train"]["data"]["dataset"] = str(dataset.path)
  made |= {"clients": 8, "lanes": 4, "steps": 2, "rounds": 3, "evaluate_every": 3}
  made["fleet"] |= {"vehicles": 12, "reached": 1.0}
  made["algorithm"] |= {"client": "sgd", "client_rate": 1.0}
  for name, value in changes.items():
    made[name] = made[name] | value if isinstance(value, dict) else value
  return made


def make_task(train, dataset_config, domains: int) -> Task:
  del train, dataset_config

  def init(key, batch):
    del key, batch
    return {"params": {"logits": jnp.zeros(markov.V)}}

  def loss_fn(params, batch, key):
    del key
    nats_BxTxA = -jax.nn.log_softmax(params["logits"])[batch["tokens_BxTxA"]] * batch["mask_BxTxA"]
    sum_B, count_B = nats_BxTxA.sum((1, 2)), batch["mask_BxTxA"].sum((1, 2)).astype(jnp.float32)
    mean = sum_B.sum(), count_B.sum()
    sliced = (jax.ops.segment_sum(x, batch["domain_B"], domains) for x in (sum_B, count_B))
    return {"objective": mean, "loss": mean, "by_domain": tuple(sliced)}

  model = types.SimpleNamespace(config=types.SimpleNamespace(non_embedding_params=lambda: markov.V))
  return Task(
    model, init, loss_fn, loss_fn, FIELDS, lambda stacked: {batch_name(k): stacked[k] for k in FIELDS}
  )
