"""FLOPs, memory traffic and collectives of a compiled program against closed forms."""

import jax
import jax.numpy as jnp
import pytest

from scaling.planning import hlo, program_cost
from scaling.planning.program_cost import Collective


def _program(*lines: str, before: str = "") -> hlo.Program:
  """One computation of the given instructions."""
  return hlo.parse("\n".join([before, "ENTRY %main () -> f32[] {", *(f"  {line}" for line in lines), "}"]))


def _cost(*lines: str, before: str = "") -> program_cost.Cost:
  return program_cost.cost(_program(*lines, before=before))


@pytest.mark.parametrize("scanned", [False, True])
def test_ten_products_cost_ten_times_two_n_cubed(scanned):
  """XLA's own analysis says a tenth of it for the loop."""
  n = 32

  def ten(x):
    def body(x, _):
      return x @ x, None

    return jax.lax.scan(body, x, None, length=10, unroll=1 if scanned else 10)[0]

  compiled = jax.jit(ten).lower(jax.ShapeDtypeStruct((n, n), jnp.float32)).compile()
  assert program_cost.cost(hlo.parse(compiled.as_text())).flops == 10 * 2 * n**3


def test_a_product_written_as_a_convolution():
  """[16, 16, 16, 256] x [256, 1024] as a TPU runs it, and its gradient, a window over all positions."""
  made = _cost(
    "%x = bf16[16,16,16,256]{3,2,1,0} parameter(0)",
    "%w = bf16[1024,256,1,1]{0,1,3,2} parameter(1)",
    "%g = bf16[16,16,16,1024]{3,2,1,0} parameter(2)",
    "%y = bf16[16,16,16,1024]{3,2,1,0} convolution(%x, %w), window={size=1x1}, dim_labels=01bf_oi01->01bf",
    "ROOT %d = bf16[1024,256,1,1]{0,1,3,2} convolution(%g, %x), window={size=16x16}, dim_labels=01fb_01io->bf01",
  )
  assert made.flops == 2 * (2 * 16**3 * 256 * 1024)


def test_batch_axes_are_dilated_windows_that_mostly_meet_nothing():
  """Five products of [3, 4] x [4, 6]: each output meets one of the five kernels, not all."""
  made = _cost(
    "%x = f32[5,3,4]{2,1,0} parameter(0)",
    "%w = f32[5,4,6]{2,1,0} parameter(1)",
    "ROOT %y = f32[5,3,6]{2,1,0} convolution(%x, %w), window={size=5 stride=4 lhs_dilate=5}, "
    "dim_labels=0bf_0io->0bf",
  )
  assert made.flops == 5 * 2 * 3 * 4 * 6


GROUPS = {
  "listed": "replica_groups={{0,2,4,6},{1,3,5,7}}",
  "iota": "replica_groups=[2,4]<=[4,2]T(1,0)",
  "mesh": "replica_groups=mesh['data'=4,'tensor'=2] {'data'}",
}


@pytest.mark.parametrize("how", GROUPS)
def test_groups_are_read_however_they_are_written(how):
  made = _cost(
    "%x = f32[10]{0} parameter(0)",
    f"ROOT %y = f32[10]{{0}} all-reduce(%x), channel_id=1, {GROUPS[how]}, to_apply=%add",
  )
  (only,) = made.collectives
  assert only.group == (0, 2, 4, 6) and only.kind == "all-reduce" and only.bytes == 40


def test_part_of_a_named_axis():
  assert program_cost._named_group("'a'=8", None, "'a':(2)4") == (0, 1, 2, 3)
  assert program_cost._named_group("'a'=8", None, "'a':(1)2") == (0, 4)
  assert program_cost._named_group("'a'=2,'b'=2", "3,2,1,0", "'b'") == (3, 2)


@pytest.mark.parametrize(
  ("kind", "received"),
  [
    ("all-gather", 3 * 100), ("reduce-scatter", 75), ("all-reduce", 150), ("all-to-all", 75),
    ("collective-permute", 100),
  ],
)  # fmt: skip
def test_a_chip_receives_what_the_others_hold(kind, received):
  assert Collective(kind, 2.0, 100.0, (0, 1, 2, 3)).received == pytest.approx(2 * received)


def test_pieces_of_one_collective_count_once_and_groups_of_one_not_at_all():
  made = _cost(
    "%x = bf16[4]{0} parameter(0)",
    "%a = bf16[16]{0} all-gather(%x), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}",
    "%b = bf16[16]{0} all-gather(%x), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}",
    "%c = bf16[4]{0} all-gather(%x), channel_id=8, replica_groups={{0},{1},{2},{3}}, dimensions={0}",
    "%d = (bf16[4]{0}, bf16[4]{0}) collective-permute-start(%x), channel_id=9, source_target_pairs={{0,1},{1,0}}",
    "ROOT %e = bf16[4]{0} collective-permute-done(%d)",
  )
  kinds = program_cost.by_kind(made.collectives)
  assert kinds["all-gather"] == {"count": 1, "runs": 1, "bytes": 24}
  assert kinds["collective-permute"] == {"count": 1, "runs": 1, "bytes": 8}
  assert made.hbm_bytes == (8 + 32) + (8 + 8)


def test_collectives_of_one_kind_and_size_are_one_line_the_largest_traffic_first():
  made = [
    program_cost.Collective("all-reduce", 3.0, 100.0, (0, 1)),
    program_cost.Collective("all-gather", 1.0, 100.0, (0, 1, 2, 3)),
    program_cost.Collective("all-reduce", 2.0, 100.0, (2, 3)),
    program_cost.Collective("all-reduce", 1.0, 100.0, (0, 1, 2, 3)),
  ]
  found = program_cost.by_size(tuple(made))
  assert [(one["kind"], one["chips"], one["count"], one["runs"], one["received"]) for one in found] == [
    ("all-reduce", 2, 2, 5.0, 500.0),
    ("all-gather", 4, 1, 1.0, 300.0),
    ("all-reduce", 4, 1, 1.0, 150.0),
  ]


def test_an_all_reduce_that_keeps_a_slice_is_a_reduce_scatter():
  before = (
    "%all-reduce-scatter.1 (i: f32[8]) -> f32[2] {\n  %i = f32[8]{0} parameter(0)\n"
    "  %r = f32[8]{0} all-reduce(%i), channel_id=3, replica_groups={{0,1,2,3}}, to_apply=%add\n"
    "  ROOT %s = f32[2]{0} dynamic-slice(%r, %i), dynamic_slice_sizes={2}\n}\n"
  )
  made = _cost(
    "%x = f32[8]{0} parameter(0)",
    "ROOT %y = f32[2]{0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1",
    before=before,
  )
  (only,) = made.collectives
  assert only.kind == "reduce-scatter" and only.received == 24


def test_traffic_is_what_is_read_and_written_outside_on_chip_memory():
  """A stack of layers of which a fusion reads one slice, and a buffer of which it writes one."""
  before = (
    "%pick (p: f32[10,64], q: f32[10,64], i: s32[], v: f32[1,64]) -> f32[10,64] {\n"
    "  %p = f32[10,64]{1,0} parameter(0)\n  %q = f32[10,64]{1,0} parameter(1)\n  %i = s32[] parameter(2)\n"
    "  %v = f32[1,64]{1,0:S(1)} parameter(3)\n"
    "  %s = f32[1,64]{1,0} dynamic-slice(%p, %i, %i), dynamic_slice_sizes={1,64}\n"
    "  %t = f32[1,64]{1,0} add(%s, %v)\n"
    "  ROOT %u = f32[10,64]{1,0} dynamic-update-slice(%q, %t, %i, %i)\n}\n"
  )
  made = _cost(
    "%p = f32[10,64]{1,0} parameter(0)",
    "%q = f32[10,64]{1,0} parameter(1)",
    "%i = s32[]{:S(2)} constant(3)",
    "%c = (f32[1,64]{1,0:S(1)}, f32[1,64]{1,0}) copy-start(%v)",
    "%v = f32[1,64]{1,0:S(1)} parameter(2)",
    "ROOT %y = f32[10,64]{1,0} fusion(%p, %q, %i, %v), kind=kLoop, calls=%pick",
    before=before,
  )
  row = 64 * 4
  # The slice read, the slice written, the copy out of on-chip memory.
  assert made.hbm_bytes == row + row + row
