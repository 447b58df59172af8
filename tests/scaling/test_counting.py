"""The analytic count against what the compiler multiplies in an unrolled training step, part by part."""

import dataclasses
import re

import flax.linen as nn
import jax
import pytest

from data import context
from models.motion import MotionModel
from models.motion_config import MotionConfig
from objectives import next_token
from scaling import counting
from scaling.planning import hlo, program_cost
from tests.worlds import random_batch

CONFIG = MotionConfig(
  width=128, layers=4, head_dim=32, factors=(15, 17), features=context.FEATURES, steps=8, agents=8,
  dtype="float32", scan=False, remat="none", adapter=0, prefix=0, heads=0, hidden=0,
)  # fmt: skip
SCOPES = {  # einsums by the name that the model gives them
  "stem": r"btaf,fm|btam,md",
  "attention_projections": r"nsd,dhk|nshk,hkd",
  "attention_scores": r"BTNH|BNTS",
  "mlp": r"/mlp/",
  "logits": r"btad,vd",
}


def _gradient(config, batch):
  """The gradient of the training loss, compiled; and positions in the batch."""
  model = MotionModel(config)
  params = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), batch)["params"])
  loss = next_token.make_loss(model.apply, 1e-4, 3)
  gradient = jax.jit(jax.grad(lambda p, b: loss(p, b, None)["objective"][0]))
  return gradient.lower(params, batch).compile(), len(batch["tokens_BxTxA"]) * config.steps * config.agents


def _compiled(config, batch):
  """FLOPs per position of the compiled gradient of the training loss, by part."""
  gradient, positions = _gradient(config, batch)
  program = hlo.parse(gradient.as_text())
  found = dict.fromkeys(SCOPES, 0.0)
  for computation, times, _ in program.executed():
    for instruction in computation.instructions.values():
      flops = times * program_cost._flops(computation, instruction)
      if flops:
        scope = re.search(r'op_name="([^"]*)"', instruction.rest)
        part = next(
          (part for part, pattern in SCOPES.items() if scope and re.search(pattern, scope[1])), None
        )
        if part is None:
          raise AssertionError(f"a product that nobody counts: {scope and scope[1]}, {flops:.3g} FLOPs")
        found[part] += flops
  return {part: flops / positions for part, flops in found.items()}


@pytest.mark.parametrize("remat", ["none", "full"])
def test_every_part_is_what_the_compiler_multiplies(remat):
  config = dataclasses.replace(CONFIG, remat=remat)
  counted, compiled = counting.count(config), _compiled(config, random_batch(2))
  if remat == "none":
    for part in counting.PARTS:
      assert compiled[part] == pytest.approx(counted.flops[part], rel=0.01), part
  total = counted.flops_per_token + counted.recomputed
  assert sum(compiled.values()) == pytest.approx(total, rel=0.01)


def test_the_compilers_own_count_agrees_where_matrices_dominate():
  """XLA's cost analysis counts every addition, too: 0.6 % more at this width."""
  config = dataclasses.replace(CONFIG, width=512, layers=2, head_dim=128)
  gradient, positions = _gradient(config, random_batch(2))
  flops = gradient.cost_analysis()["flops"]
  assert flops / positions == pytest.approx(counting.count(config).flops_per_token, rel=0.01)


def test_parameters_and_six_n_stand_beside_the_count():
  """By hand, width 128, 4 layers: the stem, 12 D^2 + 2 D per layer, the last norm; and what 6 N leaves out."""
  counted = counting.count(CONFIG)
  assert counted.params == 4 * 128 * (63 + 1 + 128) + 4 * (12 * 128**2 + 2 * 128) + 128
  assert counted.params + counted.params_embedding == counted.params_total == counted.params_active
  assert counted.flops_6n == 6 * counted.params
  assert counted.discrepancy == pytest.approx(1 - 6 * counted.params / counted.flops_per_token)
  assert sum(counted.shares.values()) == pytest.approx(1)
  # Run tables count a gradient of the features, which no step makes.
  assert counted.flops_config - counted.flops_per_token == 8 * 128 * 63


def test_six_n_is_right_where_matrices_dominate_and_wrong_where_the_output_does():
  wide = counting.count(dataclasses.replace(CONFIG, width=4096, layers=40, head_dim=128))
  narrow = counting.count(dataclasses.replace(CONFIG, width=8, layers=2, head_dim=8))
  assert abs(wide.discrepancy) < 0.005
  assert narrow.discrepancy == pytest.approx(1 - 6 * 3880 / 32640)
