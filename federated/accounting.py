"""What noise is worth: epsilon for delta, as dp-accounting composes it, and the noise that a wanted epsilon needs.

The unit is a vehicle with everything it holds. A round draws vehicles, adds up their clipped updates and adds Gaussian
noise (federated/privacy.py); rounds compose.

  poisson  each vehicle takes part in a round with the same probability, independently. Neighbouring fleets differ by
           one vehicle more or less. Privacy loss distributions: tight.
  fixed    the same number of vehicles is drawn in every round. Neighbours have one vehicle replaced, so a sum may
           differ by twice the clip. Renyi divergences of sampling without replacement: an upper bound.

The Gaussian mechanism alone: B. Balle and Y.-X. Wang, arXiv:1805.06530. What the bound leaves out: anything else
that is told of a run, such as training losses of clients, or how a configuration was chosen. A simulation's noise and
cohorts follow from its seed: whoever has its configuration can draw them again, so its epsilon is that of a fleet whose
seed is secret.
"""

import dataclasses
import functools
import typing

from data.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Schedule:
  """Who takes part: `clients` of `vehicles` (expected, for Poisson sampling) in each of `rounds`."""

  vehicles: int
  clients: int
  rounds: int
  sampling: typing.Literal["poisson", "fixed"]

  def __post_init__(self):
    if not 1 <= self.clients <= self.vehicles or self.rounds < 1:
      what = f"{self.rounds} rounds of {self.clients} clients among {self.vehicles} vehicles"
      raise BadInput(what, "the privacy schedule", "draw between one vehicle and all, in one round at least")


def _accountant(schedule: Schedule):
  import dp_accounting
  from dp_accounting import pld, rdp

  if schedule.sampling == "poisson":
    return pld.PLDAccountant()
  return rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)


def _event(schedule: Schedule, noise_multiplier: float):
  import dp_accounting as dp

  if schedule.sampling == "poisson":
    one = dp.PoissonSampledDpEvent(schedule.clients / schedule.vehicles, dp.GaussianDpEvent(noise_multiplier))
  else:
    # One vehicle in another's place moves the sum by two clips.
    gaussian = dp.GaussianDpEvent(noise_multiplier / 2)
    one = dp.SampledWithoutReplacementDpEvent(schedule.vehicles, schedule.clients, gaussian)
  return dp.SelfComposedDpEvent(one, schedule.rounds)


def _checked(delta: float) -> None:
  if not 0 < delta < 1:
    raise BadInput(f"delta {delta:g}", "privacy.delta", "choose one well below 1 / vehicles")


def epsilon(schedule: Schedule, noise_multiplier: float, delta: float) -> float:
  """Least epsilon that the accountant can show. noise_multiplier: deviation of the noise on the sum, in clips."""
  _checked(delta)
  if noise_multiplier <= 0:
    return float("inf")
  return float(_accountant(schedule).compose(_event(schedule, noise_multiplier)).get_epsilon(delta))


def least_noise(schedule: Schedule, wanted: float, delta: float, most: float) -> float:
  """The least noise multiplier, to one part in a thousand, that keeps to epsilon `wanted`.

  most: noise in clips beyond which nothing would be learnt. Raises BadInput for an epsilon that it cannot meet, with
  the one that it can.
  """
  import dp_accounting as dp

  if not wanted > 0:
    raise BadInput(f"epsilon {wanted:g} cannot be met by any noise", "privacy.epsilon", "raise it above 0")
  reached = epsilon(schedule, most, delta)
  if reached > wanted:
    what = f"epsilon {wanted:g} cannot be met: noise of {most:g} clips reaches {reached:.3g}"
    remedy = "raise it, draw fewer clients or rounds from more vehicles, or allow more noise"
    raise BadInput(what, "privacy.epsilon", remedy)
  enough = most
  while epsilon(schedule, enough / 2, delta) <= wanted:
    enough /= 2
  tolerance = 5e-4 * enough
  found = dp.calibrate_dp_mechanism(
    functools.partial(_accountant, schedule),
    functools.partial(_event, schedule),
    wanted,
    delta,
    bracket_interval=dp.ExplicitBracketInterval(enough / 2, enough),
    tol=tolerance,
  )
  while epsilon(schedule, found, delta) > wanted:
    found += tolerance
  return float(found)


def affordable(schedule: Schedule, noise: float, wanted: float, delta: float) -> int:
  """How many rounds of this schedule's kind stay within `wanted`; BadInput where not even one does."""

  def spent(rounds: int) -> float:
    return epsilon(dataclasses.replace(schedule, rounds=rounds), noise, delta)

  if spent(1) > wanted:
    what = f"epsilon {wanted:g} cannot be met: one round with noise of {noise:g} clips spends {spent(1):.3g}"
    raise BadInput(what, "privacy.epsilon", "raise it, or the noise")
  low, high = 1, 2
  while spent(high) <= wanted:
    low, high = high, 2 * high
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if spent(middle) <= wanted else (low, middle)
  return low
