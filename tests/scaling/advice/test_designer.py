"""The design keeps to its limits, beats grids of its cost, and its promise is what simulated refits show."""

import dataclasses

import numpy as np
import pytest

from data.errors import BadInput
from scaling.advice import allocation, design_report, designer, information, profile_bias, rivals
from scaling.fitting import identifiability, isoflop, parametric  # fmt: skip
from scaling.laws.hoffmann import Law
from tests.scaling import ladder

LIMITS = designer.Limits(flops=1e16, smallest=1e13, tokens=None, target=1e17)
PRIOR = designer.from_guess([getattr(ladder.LAW, f.name) for f in dataclasses.fields(Law)], 0.002)


@pytest.fixture(scope="module")
def members():
  return ladder.motion()


@pytest.fixture(scope="module")
def every(members):
  return designer.candidates(members, PRIOR, LIMITS)


@pytest.fixture(scope="module")
def best(members):
  return designer.best(members, PRIOR, LIMITS, "loss")[0]


def expect(members, params, tokens, target=LIMITS.target):
  at = allocation.for_budget(PRIOR.law, members, target)
  point = np.array([at.params]), np.array([at.tokens])
  return information.expect(PRIOR.law, params, tokens, PRIOR.noise, point)


def test_every_candidate_keeps_to_the_limits(members, every):
  assert len(every) > 100
  for design in every[::37]:
    flops = members.flops_per_nd(design.params) * design.params * design.tokens
    assert flops == pytest.approx(design.flops, rel=1e-9) and flops.sum() == pytest.approx(1e16, rel=1e-9)
    assert flops.min() >= 1e13 * (1 - 1e-9)
    assert len(np.unique(isoflop.budgets(flops))) == len(design.budgets) >= 4
    for k, budget in enumerate(design.budgets):
      sizes = np.unique(design.params[design.budget == k])
      centre = allocation.for_budget(PRIOR.law, members, budget).params
      assert (sizes < centre).sum() >= 2 and (sizes > centre).sum() >= 2
    assert np.bincount(design.seed).min() == np.bincount(design.seed).max()
    assert set(design.width) <= set(members.widths)


def test_no_run_asks_for_more_data_than_there_is(members, every):
  limit = float(np.median([design.tokens.max() for design in every]))
  fewer = designer.candidates(members, PRIOR, dataclasses.replace(LIMITS, tokens=limit))
  assert 0 < len(fewer) < len(every) and max(design.tokens.max() for design in fewer) <= limit
  with pytest.raises(BadInput, match=r"no ladder of 4 budgets .* with at most 100 tokens a run; spend more"):
    designer.best(members, PRIOR, dataclasses.replace(LIMITS, tokens=100.0), "loss")


def test_each_criterion_makes_its_own_error_least(members, every):
  errors = {}
  for criterion in designer.CRITERIA:
    design = designer.best(members, PRIOR, LIMITS, criterion)[0]
    rows = information.jacobian(PRIOR.law, design.params, design.tokens, (9.0, 15.0))
    found = expect(members, design.params, design.tokens)
    errors[criterion] = {
      "loss": found.loss_errors[0],
      "exponents": np.hypot(found.errors["alpha"], found.errors["beta"]),
      "determinant": -np.linalg.slogdet(rows.T @ rows)[1],
    }
  for criterion in designer.CRITERIA:
    values = [errors[other][criterion] for other in designer.CRITERIA]
    assert errors[criterion][criterion] <= min(values) + 1e-9 * abs(min(values))
  ordered = np.argsort(designer.scores(every, members, PRIOR, "loss", LIMITS.target))
  sampled = [expect(members, every[k].params, every[k].tokens).loss_errors[0] for k in ordered[::100]]
  assert sampled == sorted(sampled) and sampled[-1] > 1.5 * sampled[0]


def test_exponents_are_scored_by_both_variances(members, every):
  for design in every[:2]:
    errors = expect(members, design.params, design.tokens).errors
    both = (errors["alpha"] ** 2 + errors["beta"] ** 2) / PRIOR.noise**2
    (score,) = designer.scores([design], members, PRIOR, "exponents", LIMITS.target)
    assert score == pytest.approx(np.log(both), abs=1e-6) and errors["beta"] > 0.1 * errors["alpha"]


def test_grids_of_the_same_cost_promise_less(members, best):
  """A ray settles nothing, a uniform grid less; off centre, the parametric law loses little, the profiles all."""
  found = rivals.all_of(members, PRIOR.law, best)
  assert found.keys() == {"one ray", "uniform 5 x 4", "off centre"}
  for params, tokens in found.values():
    cost = (members.flops_per_nd(params) * params * tokens).sum()
    assert cost == pytest.approx(LIMITS.flops, rel=1e-6)
  assert identifiability.of_table(best.params, best.tokens, 5, "") == []
  refused = identifiability.of_table(*found["one ray"], 5, "")
  assert [type(r).__name__ for r in refused] == ["OneRay"]
  own, uniform, off = (
    expect(members, *grid)
    for grid in ((best.params, best.tokens), found["uniform 5 x 4"], found["off centre"])
  )
  assert uniform.loss_errors[0] > 2 * own.loss_errors[0] and uniform.errors["a"] > 5 * own.errors["a"]
  assert off.errors["a"] > 1.2 * own.errors["a"] and off.loss_errors[0] > 0.98 * own.loss_errors[0]
  minima = {name: design_report._minima(members, PRIOR.law, *grid) for name, grid in found.items()}
  assert minima["off centre"] == f"0 of {len(best.budgets)}" and minima["one ray"].startswith("0 of")


def test_wide_sizes_on_lopsided_profiles_are_refused(members):
  """Exponents as far apart as 0.77 and 0.27: what is most certain by covariance alone has parabolas 15 % off."""
  prior = designer.from_guess([0.68, 127.0, 18.4, 0.768, 0.274], 0.005)
  limits = designer.Limits(6.5e12, 5e9, None, 6.5e13)
  every = designer.candidates(members, prior, limits)
  greedy = every[int(np.argmin(designer.scores(every, members, prior, "loss", limits.target)))]
  assert abs(profile_bias.of(members, prior.law, greedy.params, greedy.tokens, 6.5e13)) > designer.BIAS
  design = designer.best(members, prior, limits, "loss")[0]
  assert abs(profile_bias.of(members, prior.law, design.params, design.tokens, 6.5e13)) <= designer.BIAS


def test_lopsided_profiles_are_off_when_wide_and_a_ray_has_no_profiles(members, best):
  even = Law(0.8, 4.2, 110.0, 0.4, 0.4)
  steep = Law(0.8, 1000.0, 20.0, 0.7, 0.25)

  def off(law: Law, spread: float) -> float:
    budgets = np.geomspace(1e19, 1e21, 4)
    centres = np.array([allocation.for_budget(law, members, c).params for c in budgets])
    design = designer.profiles(members, budgets, centres, 7, spread, 1)
    assert design is not None
    return abs(profile_bias.of(members, law, design.params, design.tokens, 1e22))

  assert off(even, 1.6) < 0.001 and off(even, 6.0) < 0.01
  assert off(steep, 1.6) < 0.02 and off(steep, 6.0) > 0.1
  assert np.isnan(profile_bias.of(members, even, *rivals.one_ray(members, even, best), 1e22))


@pytest.mark.parametrize("name", ["design", "uniform 5 x 4"])
def test_simulated_refits_scatter_as_promised(members, best, name):
  grid = (best.params, best.tokens) if name == "design" else rivals.all_of(members, PRIOR.law, best)[name]
  expected = expect(members, *grid)
  loss = PRIOR.law.loss(*grid)
  tables = loss * np.exp(PRIOR.noise * np.random.default_rng(1).standard_normal((400, len(loss))))
  refits = parametric.fit(*grid, loss, "mse", losses=tables).draws
  assert refits is not None
  for coefficient in ("beta", "a"):
    assert np.std(getattr(refits, coefficient)) == pytest.approx(expected.errors[coefficient], rel=0.2)
  at = allocation.for_budget(PRIOR.law, members, LIMITS.target)
  assert np.std(np.log(refits.loss(at.params, at.tokens))) == pytest.approx(expected.loss_errors[0], rel=0.2)


def test_a_prior_that_is_unsure_asks_for_sizes_that_hold_its_optima(members, every):
  """Draws whose N* differs by up to four times: narrow ladders would often have it outside."""
  scale = np.geomspace(0.25, 4, 17)
  law, ones = PRIOR.law, np.ones(17)
  draws = Law(law.E * ones, law.A * scale, law.B * ones, law.alpha * ones, law.beta * ones)
  wide = designer.candidates(members, dataclasses.replace(PRIOR, draws=draws), LIMITS)
  assert 0 < len(wide) < len(every) and min(d.spread for d in wide) > min(d.spread for d in every)
  assert all(designer.INSIDE <= design.inside <= 1 for design in wide)


def test_profiles_take_the_nearest_sizes(members):
  design = designer.profiles(members, np.array([1e12]), np.array([2e4]), 5, 4.0, 2)
  assert design is not None and set(design.seed) == {0, 1} and len(design.params) == 10
  for wanted in 2e4 * np.geomspace(1 / 4, 4, 5):
    away = np.abs(np.log(members.params / wanted))
    assert members.params[away.argmin()] in design.params
  assert designer.profiles(members, np.array([1e12]), np.array([2e3]), 5, 1.3, 1) is None


def test_a_fit_without_noise_needs_it_said(tmp_path):
  from scaling.advice import fitted

  fit = dataclasses.replace(fitted.read(ladder.fit(tmp_path, ladder.motion(), draws=50)), noise=float("nan"))
  with pytest.raises(BadInput, match="does not tell how runs scatter"):
    designer.from_fit(fit, None)
  prior = designer.from_fit(fit, 0.01)
  assert prior.noise == 0.01 and len(prior.draws.E) == designer.DRAWS
  assert set(prior.draws.alpha) <= set(fit.draws.alpha)
