"""Inference-aware optimum: the paper's headline, its limits, and that it is a minimum."""

import pytest

from scaling.laws import sardana
from scaling.laws.hoffmann import Law

HOFFMANN = Law(A=406.4, B=410.7, E=1.69, alpha=0.336, beta=0.283)
BESIROGLU = Law(A=482.01, B=2085.43, E=1.8172, alpha=0.3478, beta=0.3658)


@pytest.mark.parametrize(
  ("law", "params", "tokens", "total", "own", "saved"),
  [
    (HOFFMANN, 6.969e9, 1.248e12, 8.005e22, 9.697e22, 0.17),
    (BESIROGLU, 6.098e9, 7.37e11, 5.136e22, 7.229e22, 0.29),
  ],
)
def test_a_13b_model_that_reads_two_trillion_tokens(law, params, tokens, total, own, saved):
  optimal, loss = sardana.chinchilla(law, 13e9)
  assert law.optimum(6 * 13e9 * optimal)[0] == pytest.approx(13e9)
  best = sardana.optimum(law, loss, 2e12)
  assert (best.params, best.tokens, best.flops) == pytest.approx((params, tokens, total), rel=1e-3)
  assert law.loss(best.params, best.tokens) == pytest.approx(loss)
  large = sardana.plan(law, loss, 13e9, 2e12)
  assert large.flops == pytest.approx(own, rel=1e-3) and large.tokens == pytest.approx(optimal)
  assert 1 - best.flops / large.flops == pytest.approx(saved, abs=0.005)


def test_without_inference_it_is_the_training_optimum():
  tokens, loss = sardana.chinchilla(HOFFMANN, 1e9)
  best = sardana.optimum(HOFFMANN, loss, 0.0)
  assert best.params == pytest.approx(1e9, rel=1e-4) and best.tokens == pytest.approx(tokens, rel=1e-4)


def test_more_inference_means_a_smaller_model():
  loss = sardana.chinchilla(HOFFMANN, 1e10)[1]
  plans = [sardana.optimum(HOFFMANN, loss, inference) for inference in (1e10, 1e12, 1e14)]
  sizes = [plan.params for plan in plans]
  assert sizes == sorted(sizes, reverse=True)
  for plan, inference in zip(plans, (1e10, 1e12, 1e14), strict=True):
    for factor in (0.98, 1.02):
      assert sardana.plan(HOFFMANN, loss, plan.params * factor, inference).flops > plan.flops


def test_a_loss_below_the_floor_is_refused():
  with pytest.raises(ValueError, match="irreducible"):
    sardana.optimum(HOFFMANN, 1.6, 1e12)
