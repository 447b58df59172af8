"""What a federated run is configured with, and what its algorithm and links become. Nothing here has a default."""

import dataclasses
import functools
import math
import typing

import jax
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
  client_rate: Positive  # in the first round
  client_final: Share  # of it, in the last round: it falls as a cosine
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

  codec: typing.Literal["none", "top_k", "one_of", "sign", "stochastic", "rotated", "power"]
  share: Share  # of top_k
  bits: typing.Literal[1, 2, 4, 8, 16, 32]  # of stochastic and rotated; of top_k's values
  rank: Natural  # of power
  feedback: bool  # what could not be sent is added to what is sent next


@dataclasses.dataclass(frozen=True)
class ClientMesh:
  clients: Count  # devices that the clients of a round are spread over


@dataclasses.dataclass(frozen=True)
class AttackConfig:
  """What a share of the vehicles sends in place of its updates, federated/attacks.py."""

  name: typing.Literal["none", "sign_flip", "scaling", "colluding_gaussian"]
  share: Share  # of the vehicles
  factor: Positive  # how much longer; of the Gaussian, its deviation


@dataclasses.dataclass(frozen=True)
class AggregateConfig:
  """How updates become one, federated/robust.py; all but `mean` count every client alike."""

  name: typing.Literal["mean", "median", "trimmed_mean", "multi_krum", "centred_clipping"]
  group: Count  # clients whose mean is taken before that; 1: each stands for itself
  share: Share  # of trimmed_mean: left out at either end
  byzantine: Natural  # of multi_krum: attackers to withstand
  keep: Natural  # and updates to keep, 1: Krum
  radius: Positive  # of centred_clipping
  iterations: Count


@dataclasses.dataclass(frozen=True)
class GoldenConfig:
  """The set that an aggregate must not get worse on, federated/golden.py."""

  split: str  # held by the server; "": there is none
  axes: str  # "domain,weather": every value of these is a slice of its own, beside the whole
  level: Share  # of false refusals
  tolerance: Least0  # nats


@dataclasses.dataclass(frozen=True)
class PrivacyConfig:
  """Of vehicles with all they hold, federated/privacy.py and accounting.py."""

  name: typing.Literal["none", "central", "local"]
  clip: Positive  # L2 norm of an update; of the first round, where it adapts
  noise: Least0  # in clips; 0: the least that keeps to epsilon
  epsilon: Least0  # not to be exceeded; 0: whatever the noise is worth
  delta: Share
  quantile: Share  # of lengths, that the clip follows; 0: it is fixed
  quantile_rate: Positive
  quantile_noise: Positive  # on the sum of who is within


@dataclasses.dataclass(frozen=True)
class Federation:
  """`train` says model, loss and data; its optimiser and budget are not read: clients and server have their own."""

  seed: Natural
  rounds: Count
  clients: Count  # in a round
  lanes: Count  # clients computed at a time, on each device
  mesh: ClientMesh
  steps: Count  # local steps at most
  batch: Count  # records of a local step
  epochs: Positive  # of a client's own records in a round
  evaluate_every: Count  # rounds
  fleet: FleetConfig
  algorithm: AlgorithmConfig
  up: LinkConfig
  down: LinkConfig
  attack: AttackConfig
  aggregate: AggregateConfig
  golden: GoldenConfig
  privacy: PrivacyConfig
  accept: (
    str  # kinds of leak between training and held-out logs that are lived with, such as "same_route_same_day"
  )
  train: dict


def parse(values: dict) -> tuple[Federation, Train]:
  """The typed form of a configuration; BadInput for what it cannot mean."""
  config = from_dict(values, Federation)
  train = from_dict(config.train)
  if config.clients > config.fleet.vehicles:
    what = f"{config.clients} clients in a round, {config.fleet.vehicles} vehicles"
    raise BadInput(what, "config.clients", "lower it")
  if config.clients % (config.lanes * config.mesh.clients):
    what = f"{config.clients} clients are no whole sets of {config.lanes} on {config.mesh.clients} devices"
    raise BadInput(what, "config.lanes", "let config.clients be a multiple of lanes times devices")
  return config, train


def client_rate(config: Federation, number: int) -> float:
  """Of round `number`, from 0."""
  fallen = 0.5 * (1 - math.cos(math.pi * number / max(config.rounds - 1, 1)))
  return config.algorithm.client_rate * (1 - (1 - config.algorithm.client_final) * fallen)


def make_algorithm(config: AlgorithmConfig, loss_fn: algorithms.Loss, rate: float | jax.Array) -> Algorithm:
  """rate: of the clients, in this round."""
  if config.name == "scaffold":
    return algorithms.scaffold(loss_fn, rate, config.server_rate)
  if config.name == "mime_lite":
    return algorithms.mime_lite(loss_fn, rate, config.server_momentum)
  servers = {
    "sgd": functools.partial(optax.sgd, momentum=config.server_momentum or None, nesterov=True),
    "adam": functools.partial(optax.adam, eps=1e-3),  # tau of arXiv:2003.00295
    "yogi": functools.partial(optax.yogi, eps=1e-3),
    "adagrad": functools.partial(optax.adagrad, eps=1e-3),
  }
  clients = {"sgd": optax.sgd, "adamw": optax.adamw}
  server = servers[config.server](config.server_rate)
  return algorithms.fedavg(loss_fn, clients[config.client](rate), server, config.proximal)


def make_codec(config: LinkConfig, where: str) -> compression.Codec | None:
  """None: everything is sent; BadInput for a codec without the number that it needs."""
  if config.codec == "none":
    return None
  needs = {
    "top_k": config.share > 0 and config.bits >= 16,
    "one_of": True,
    "sign": True,
    "stochastic": 1 < config.bits <= 8,
    "rotated": config.bits <= 8,
    "power": config.rank > 0,
  }
  if not needs[config.codec]:
    what = f"{config.codec} with share {config.share:g}, {config.bits} bits and rank {config.rank}"
    raise BadInput(
      what, where, "top_k needs a share and 16 or 32 bits, stochastic 2 to 8, rotated 1 to 8, power a rank"
    )
  return {
    "top_k": lambda: compression.top_k(config.share, config.bits),
    "one_of": compression.one_of,
    "sign": compression.sign,
    "stochastic": lambda: compression.stochastic(config.bits),
    "rotated": lambda: (
      compression.sign(rotate=0) if config.bits == 1 else compression.stochastic(config.bits, rotate=0)
    ),
    "power": lambda: compression.power(config.rank),
  }[config.codec]()
