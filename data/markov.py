"""A token source whose conditional entropy is known in closed form: what a trained model's loss must come down to.

Tokens have the alphabet of motion tokens and mean nothing. In a domain, the next token x of an agent given what
it depends on (its context c) is drawn by

  P(x | c) = p[rank of x in the order of c],     p[r] = exp(s q[r]) / Z,

where q are the V normal quantiles in falling order, s is the domain's sharpness, and the order of c sorts all V
tokens by a score. Contexts permute one distribution, so every token of the domain has exactly

  H = - sum_r p[r] ln p[r]

nats of entropy given its past and its neighbour, whichever contexts occur and however often. A window starts
without a past, which is a context like the others: no step needs to be left out, and windows are independent.

The score of x is a popularity of its own plus a bilinear form for every token in the context,

  score(x, c) = POPULARITY n[x] + sum_parts weight_part sum_j j^-DECAY U_part[c_part, j] W[j, x],

with Gaussian n, U and W. The power law of its spectrum leaves a wider model, and a longer training, something
smaller to find at every scale, so that their loss falls as a power (Bahri et al., arXiv:2102.06701; Maloney et
al., arXiv:2210.16859). Random permutations could only be learned by heart, and modular sums are grokked.

What a context holds: "last", "second": the agent's own tokens one and two steps ago; "before": the token of the
agent in the slot before, in the same step. The agent's type tells its domain.
"""

import dataclasses
import functools
import statistics

import numpy as np

from data import motion
from data.errors import BadInput
from data.windows import Window, WindowConfig

V = motion.VOCABULARY
NOTHING = V  # stands in a context for the token of an agent or step that is not there
SPECTRUM, DECAY = 64, 1.0  # J and its exponent
POPULARITY = 1.5


@dataclasses.dataclass(frozen=True)
class Domain:
  """Attributes: sharpness s; weights of the context's parts, none for an order of 0."""

  sharpness: float
  parts: dict[str, float]


DOMAINS = {
  "order_0": Domain(1.5, {}),
  "order_1": Domain(2.5, {"last": 1.0}),
  "order_2": Domain(2.5, {"last": 0.9, "second": 0.45}),
  "coupled": Domain(2.5, {"last": 0.9, "before": 0.45}),
}


@dataclasses.dataclass(frozen=True)
class MarkovJob:
  """A stream of `steps` moves of a domain, dealt out in windows. seed: its own. tables: the seed of n, U and W."""

  domain: str
  seed: int
  steps: int
  dt: float
  tables: int


def probabilities(domain: str) -> np.ndarray:
  """p [V], falling, float64."""
  normal = statistics.NormalDist()
  quantiles = np.array([normal.inv_cdf(1 - (r + 0.5) / V) for r in range(V)])
  weight = np.exp(DOMAINS[domain].sharpness * quantiles)
  return weight / weight.sum()


def entropy(domain: str) -> float:
  """H in nats per token: the least loss that any model can have."""
  p = probabilities(domain)
  return float(-(p * np.log(p)).sum())


def plan(
  seed: int, streams_per_domain: int, steps: int, dt: float, domains=tuple(DOMAINS)
) -> list[MarkovJob]:
  """Jobs with distinct seeds; a stream depends on its domain and number, not on how many others there are."""
  return [
    MarkovJob(domain, (seed * 1_000_000 + k) * len(DOMAINS) + list(DOMAINS).index(domain), steps, dt, seed)
    for domain in domains
    for k in range(streams_per_domain)
  ]


def windows(job: MarkovJob, config: WindowConfig, domain: int) -> list[Window]:
  """The stream in windows as training reads them, features all zero; BadInput when it is shorter than one."""
  count = job.steps // config.steps
  if not count:
    raise BadInput(f"{job.steps} steps make no window of {config.steps}", "source markov", "raise --steps")
  rng = np.random.default_rng([job.seed, 3])
  tokens = sample(job.domain, job.tables, rng, (count, config.steps, config.agents))
  spec = config.parts["windows"]
  made = []
  for tokens_TxA in tokens:
    window: Window = {name: np.zeros(shape, dtype) for name, (shape, dtype) in spec.items()}
    window["tokens_TxA"][:] = tokens_TxA
    window["valid_TxA"][:], window["mask_TxA"][:] = True, True
    window["group_A"][:], window["type_A"][:] = 1, agent_type(job.domain)
    window["domain"][...] = domain
    made.append(window)
  return made


def agent_type(domain: str) -> int:
  """What a model sees of the domain."""
  return 1 + list(DOMAINS).index(domain)


def sample(domain: str, tables: int, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
  """Tokens int16 [N, T, A] of N independent windows."""
  order = _order(domain, tables)
  cumulative = probabilities(domain).cumsum()
  ranks = np.searchsorted(cumulative / cumulative[-1], rng.random(shape), side="right")
  tokens = np.full((shape[0], shape[1] + 2, shape[2] + 1), NOTHING, np.int16)  # two steps and a slot before
  for t in range(shape[1]):
    for a in range(shape[2]):
      first, second = _contexts(domain, tokens[:, t : t + 3, a : a + 2])
      tokens[:, t + 2, a + 1] = order[first[:, 0, 0], second[:, 0, 0], ranks[:, t, a]]
  return tokens[:, 2:, 1:]


def log_probabilities(domain: str, tables: int, tokens_NxTxA: np.ndarray) -> np.ndarray:
  """The truth: ln P of every possible token given the context of each place, float32 [N, T, A, V]."""
  padded = np.pad(tokens_NxTxA, ((0, 0), (2, 0), (1, 0)), constant_values=NOTHING)
  order = _order(domain, tables)[_contexts(domain, padded)]
  found = np.empty(order.shape, np.float32)
  logs = np.broadcast_to(np.log(probabilities(domain)).astype(np.float32), order.shape)
  np.put_along_axis(found, order.astype(np.int64), logs, axis=-1)
  return found


def _contexts(domain: str, padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The pair of indices [N, T, A] into `_order`, of tokens [N, 2 + T, 1 + A]; 0 for a part that does not matter."""
  seen = {"last": padded[:, 1:-1, 1:], "second": padded[:, :-2, 1:], "before": padded[:, 2:, :-1]}
  parts = [seen[name] for name in DOMAINS[domain].parts]
  none = np.zeros_like(seen["last"])
  first, second = [*parts, none, none][:2]
  return first, second


@functools.lru_cache(maxsize=len(DOMAINS))
def _order(domain: str, tables: int) -> np.ndarray:
  """All tokens by falling score, uint8 [C, C', V]; C is V + 1 for a part of the context, 1 where there is none."""
  rng = np.random.default_rng([tables, 4])
  popularity = POPULARITY * rng.normal(size=V)
  spectrum = np.arange(1, SPECTRUM + 1) ** -DECAY
  outputs = spectrum[:, None] * rng.normal(size=(SPECTRUM, V))
  inputs = {name: rng.normal(size=(V + 1, SPECTRUM)) for name in ("last", "second", "before")}
  for table in inputs.values():
    table[NOTHING] = 0.0
  scores = [weight * inputs[name] @ outputs for name, weight in DOMAINS[domain].parts.items()]
  first, second = [*scores, np.zeros((1, V)), np.zeros((1, V))][:2]
  return np.stack([np.argsort(-(popularity + row + second), axis=-1) for row in first]).astype(np.uint8)
