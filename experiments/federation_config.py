"""What a federated run is configured with, and what its algorithm and links become. Nothing here has a default."""

import dataclasses
import functools
import typing

import optax

from data.errors import BadInput
from experiments.config import Train, from_dict
from experiments.ranges import Count, Decay, Least0, Natural, Positive, Share
from federated import algorithms, compression
from federated.rounds import Algorithm


@dataclasses.dataclass(frozen=True)
class FleetConfig:
  vehicles: Count
  axes: str  # "domain,weather": a vehicle lives in one cell of these; "": shares drawn by `alpha`
  without: str  # slices of records that no vehicle holds, joined by ";": "domain=rural;weather=snow"
  alpha: Least0  # of the Dirichlet distribution over domains, where axes is ""
  steps_per_second: Positive  # medians; vehicles spread log-normally around them
  up: Positive  # bytes per second
  down: Positive
  spread: Least0
  reached: Share  # probability that a vehicle that is drawn takes part


@dataclasses.dataclass(frozen=True)
class AlgorithmConfig:
  name: typing.Literal["fedavg", "scaffold", "mime_lite"]
  client_rate: Positive
  client: typing.Literal["sgd", "adamw"]
  proximal: Least0  # FedProx's mu
  server: typing.Literal["sgd", "adam", "yogi", "adagrad"]
  server_rate: Positive
  server_momentum: Decay  # of sgd, Nesterov's; and of MIME-lite
  longest: Positive  # L2 norm beyond which an update is rejected
  heaviest: Positive  # what an update may weigh at most: things that its objective counts


@dataclasses.dataclass(frozen=True)
class LinkConfig:
  """How updates are made smaller, federated/compression.py; `none` sends them as they are."""

  codec: typing.Literal["none", "top_k", "sign", "stochastic", "rotated", "power"]
  share: Share  # of top_k
  bits: typing.Literal[2, 4, 8, 16, 32]  # of stochastic and rotated; of top_k's values
  rank: Natural  # of power
  feedback: bool  # what could not be sent is added to what is sent next


@dataclasses.dataclass(frozen=True)
class Federation:
  """`train` says model, loss and data; its optimiser and budget are not read: clients and server have their own."""

  seed: Natural
  rounds: Count
  clients: Count  # in a round
  lanes: Count  # clients computed at a time
  steps: Count  # local steps at most
  batch: Count  # records of a local step
  epochs: Positive  # of a client's own records in a round
  evaluate_every: Count  # rounds
  fleet: FleetConfig
  algorithm: AlgorithmConfig
  up: LinkConfig
  down: LinkConfig
  train: dict


def parse(values: dict) -> tuple[Federation, Train]:
  """The typed form of a configuration; BadInput for what it cannot mean."""
  config = from_dict(values, Federation)
  train = from_dict(config.train)
  if config.clients > config.fleet.vehicles:
    what = f"{config.clients} clients in a round, {config.fleet.vehicles} vehicles"
    raise BadInput(what, "config.clients", "lower it")
  if config.clients % config.lanes:
    what = f"{config.clients} clients are no whole sets of {config.lanes}"
    raise BadInput(what, "config.lanes", "choose a divisor of config.clients")
  return config, train


def make_algorithm(config: AlgorithmConfig, loss_fn: algorithms.Loss) -> Algorithm:
  if config.name == "scaffold":
    return algorithms.scaffold(loss_fn, config.client_rate, config.server_rate)
  if config.name == "mime_lite":
    return algorithms.mime_lite(loss_fn, config.client_rate, config.server_momentum)
  servers = {
    "sgd": functools.partial(optax.sgd, momentum=config.server_momentum or None, nesterov=True),
    "adam": functools.partial(optax.adam, eps=1e-3),  # tau of arXiv:2003.00295
    "yogi": functools.partial(optax.yogi, eps=1e-3),
    "adagrad": functools.partial(optax.adagrad, eps=1e-3),
  }
  clients = {"sgd": optax.sgd, "adamw": optax.adamw}
  server = servers[config.server](config.server_rate)
  return algorithms.fedavg(loss_fn, clients[config.client](config.client_rate), server, config.proximal)


def make_codec(config: LinkConfig, where: str) -> compression.Codec | None:
  """None: everything is sent; BadInput for a codec without the number that it needs."""
  if config.codec == "none":
    return None
  needs = {"top_k": config.share > 0 and config.bits >= 16, "power": config.rank > 0, "sign": True}
  if not needs.get(config.codec, config.bits <= 8):
    what = f"{config.codec} with share {config.share:g}, {config.bits} bits and rank {config.rank}"
    raise BadInput(
      what, where, "top_k needs a share and 16 or 32 bits, stochastic and rotated 2 to 8, power a rank"
    )
  return {
    "top_k": lambda: compression.top_k(config.share, config.bits),
    "sign": compression.sign,
    "stochastic": lambda: compression.stochastic(config.bits),
    "rotated": lambda: compression.stochastic(config.bits, rotate=0),
    "power": lambda: compression.power(config.rank),
  }[config.codec]()
