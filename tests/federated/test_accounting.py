"""Epsilon against closed forms and a numerical integral, and an epsilon that cannot be met by its name."""

import numpy as np
import pytest
from scipy import optimize, stats

from data.errors import BadInput
from federated.accounting import Schedule, affordable, epsilon, least_noise

DELTA = 1e-5


def all_of_them(rounds: int) -> Schedule:
  return Schedule(vehicles=100, clients=100, rounds=rounds, sampling="poisson")


def gaussian_epsilon(noise: float, delta: float) -> float:
  """Balle and Wang, theorem 8: delta = Phi(1 / 2s - e s) - exp(e) Phi(-1 / 2s - e s) for sensitivity 1."""

  def gap(e):
    return (
      stats.norm.cdf(0.5 / noise - e * noise) - np.exp(e) * stats.norm.cdf(-0.5 / noise - e * noise) - delta
    )

  return optimize.brentq(gap, 0, 100)


@pytest.mark.parametrize(("noise", "rounds"), [(1.0, 1), (4.0, 1), (5.0, 16)])
def test_without_sampling_it_is_that_of_the_gaussian_mechanism(noise, rounds):
  """Rounds of Gaussian noise compose to one of noise / sqrt(rounds)."""
  expected = gaussian_epsilon(noise / np.sqrt(rounds), DELTA)
  assert epsilon(all_of_them(rounds), noise, DELTA) == pytest.approx(expected, rel=1e-3)


def test_one_round_of_a_sample_is_its_hockey_stick_divergence():
  """delta(e) = integral of (p - e^e q)+, p = (1 - r) N(0, s^2) + r N(1, s^2), q = N(0, s^2), or of the two swapped."""
  noise, share = 0.7, 0.1
  x = np.linspace(-12, 13, 200_001)
  q = stats.norm.pdf(x, 0, noise)
  p = (1 - share) * q + share * stats.norm.pdf(x, 1, noise)

  def delta(e):
    return max(np.trapezoid(np.maximum(a - np.exp(e) * b, 0), x) for a, b in ((p, q), (q, p)))

  expected = optimize.brentq(lambda e: delta(e) - DELTA, 0, 50)
  got = epsilon(Schedule(1000, 100, 1, "poisson"), noise, DELTA)
  assert got == pytest.approx(expected, rel=1e-3)


def test_a_fixed_number_of_clients_costs_what_replacing_one_costs():
  """With everybody drawn, a sum moves by two clips: a Gaussian mechanism of half the noise."""
  exact = gaussian_epsilon(2.0, DELTA)
  assert exact < epsilon(Schedule(100, 100, 1, "fixed"), 4.0, DELTA) < 1.25 * exact
  sampled = epsilon(Schedule(1000, 10, 20, "fixed"), 2.0, DELTA)
  assert sampled < epsilon(Schedule(1000, 1000, 20, "fixed"), 2.0, DELTA)


def test_the_noise_of_an_epsilon_is_the_least_that_keeps_to_it():
  noise = least_noise(all_of_them(1), 1.0, DELTA, most=100.0)
  assert gaussian_epsilon(noise, DELTA) <= 1.0
  assert gaussian_epsilon(noise * 0.998, DELTA) > 1.0


def test_affordable_rounds_are_those_within_epsilon():
  rounds = affordable(all_of_them(1), 20.0, 1.0, DELTA)
  assert (
    gaussian_epsilon(20 / np.sqrt(rounds), DELTA)
    <= 1.0
    < gaussian_epsilon(20 / np.sqrt(rounds + 1), DELTA) * 1.001
  )


@pytest.mark.parametrize(
  ("ask", "says"),
  [
    (
      lambda: least_noise(all_of_them(100), 0.1, DELTA, 10.0),
      "epsilon 0.1 cannot be met: noise of 10 clips reaches",
    ),
    (lambda: least_noise(all_of_them(1), 0.0, DELTA, 10.0), "epsilon 0 cannot be met by any noise"),
    (lambda: affordable(all_of_them(1), 1.0, 0.5, DELTA), "one round with noise of 1 clips spends 4.38"),
    (lambda: epsilon(all_of_them(1), 1.0, 0.0), "delta 0"),
    (lambda: Schedule(10, 11, 1, "fixed"), "11 clients among 10 vehicles"),
  ],
)
def test_what_cannot_be_met_is_refused_by_name(ask, says):
  with pytest.raises(BadInput, match=says):
    ask()


def test_without_noise_nothing_is_private():
  assert epsilon(all_of_them(1), 0.0, DELTA) == float("inf")
