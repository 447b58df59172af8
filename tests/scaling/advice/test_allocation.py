"""Optima against closed forms (C = 6 N D), against brute force with real counts, and against each other."""

import numpy as np
import pytest

from scaling.advice import allocation
from scaling.laws import sardana
from scaling.laws.hoffmann import Law
from tests.scaling.ladder import LAW, motion, six

HOFFMANN = Law(A=406.4, B=410.7, E=1.69, alpha=0.336, beta=0.283)
MANY = Law(
  np.array([1.69, 1.8]), np.array([406.4, 482.0]), np.array([410.7, 2085.0]), np.array([0.336, 0.3478]),
  np.array([0.283, 0.3658]),
)  # fmt: skip


@pytest.mark.parametrize("flops", [1e19, 5.76e23])
def test_six_nd_gives_hoffmanns_closed_form(flops):
  found = allocation.for_budget(HOFFMANN, six(motion()), flops)
  params, tokens = HOFFMANN.optimum(flops)
  assert (found.params, found.tokens) == pytest.approx((params, tokens), rel=1e-5)
  assert found.loss == pytest.approx(HOFFMANN.least_loss(flops), rel=1e-12) and found.flops == flops


def test_draws_are_solved_each_by_itself():
  members = six(motion())
  found = allocation.for_budget(MANY, members, np.array([1e20, 1e21]))
  for i in range(2):
    law = Law(*(getattr(MANY, name)[i] for name in ("E", "A", "B", "alpha", "beta")))
    assert found.params[i] == pytest.approx(law.optimum([1e20, 1e21][i])[0], rel=1e-5)
    assert found.loss[i] == pytest.approx(law.least_loss([1e20, 1e21][i]), rel=1e-12)


def test_more_draws_than_a_batch_holds_come_back_in_order():
  scale = np.linspace(0.5, 2, allocation.LANES + 3)
  ones = np.ones(len(scale))
  laws = Law(LAW.E * ones, LAW.A * scale, LAW.B * ones, LAW.alpha * ones, LAW.beta * ones)
  sizes = allocation.for_budget(laws, motion(), 1e13).params
  assert (
    len(sizes) == len(scale) and (np.diff(sizes) > -1e-4 * sizes[1:]).all() and sizes[-1] > 1.5 * sizes[0]
  )


def test_real_counts_move_the_optimum_and_brute_force_finds_it():
  members = motion()
  found = allocation.for_budget(LAW, members, 1e11)
  sizes = np.exp(np.linspace(np.log(found.params) - 2, np.log(found.params) + 2, 200001))
  losses = LAW.loss(sizes, 1e11 / (members.flops_per_nd(sizes) * sizes))
  best = losses.argmin()
  assert found.loss == pytest.approx(losses[best], rel=1e-10) and found.loss <= losses[best] * (1 + 1e-13)
  assert found.params == pytest.approx(sizes[best], rel=1e-3)
  assert found.flops == pytest.approx(members.flops_per_nd(found.params) * found.params * found.tokens)
  assert abs(np.log(found.params / LAW.optimum(1e11)[0])) > 0.05  # 6 N D would have said something else


def test_the_least_compute_for_a_loss_inverts_the_least_loss_for_a_compute():
  members = motion()
  by_budget = allocation.for_budget(LAW, members, 3e12)
  by_loss = allocation.for_loss(LAW, members, by_budget.loss, 0.0)
  assert by_loss.flops == pytest.approx(3e12, rel=1e-6)
  assert by_loss.params == pytest.approx(by_budget.params, rel=1e-2) and by_loss.loss == by_budget.loss


def test_a_life_of_inference_is_sardanas_optimum():
  members = six(motion())
  loss = sardana.chinchilla(HOFFMANN, 13e9)[1]
  oracle = sardana.optimum(HOFFMANN, loss, 2e12)
  found = allocation.for_loss(HOFFMANN, members, loss, 2e12)
  assert found.params == pytest.approx(oracle.params, rel=1e-5)
  assert found.flops == pytest.approx(oracle.train_flops, rel=1e-4)
  served = allocation.inference_flops(members, found.params, 2e12)
  assert found.flops + served == pytest.approx(oracle.flops, rel=1e-9)
  assert found.params == pytest.approx(6.969e9, rel=1e-3)  # as the paper has it


def test_a_loss_below_the_floor_has_no_answer():
  assert np.isnan(allocation.for_loss(LAW, motion(), 0.99 * LAW.E, 0.0).params)
  floors = Law(np.array([0.5, 0.9]), *(np.full(2, getattr(LAW, n)) for n in ("A", "B", "alpha", "beta")))
  found = allocation.for_loss(floors, motion(), 0.85, 0.0)
  assert np.isfinite(found.flops[0]) and np.isnan(found.flops[1]) and np.isnan(found.loss[1])
