"""Compiled programs read as text: types, operands, and how often each computation runs."""

import pytest

from data.errors import BadInput
from scaling.planning import hlo

# A loop of 10 around a loop of 3, as the TPU compiler writes them: no trip counts, tiled layouts, tuples.
NESTED = """HloModule jit_step, is_scheduled=true, num_partitions=4

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%a, %b)
}

%inner_body (p.1: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p.1 = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) parameter(0)
  ROOT %next.1 = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) tuple(%p.1, %p.1)
}

%inner_condition (p.2: (s32[], f32[8,4])) -> pred[] {
  %limit.2 = s32[]{:T(128)} constant(5)
  %p.2 = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) parameter(0)
  %i.2 = s32[]{:T(128)} get-tuple-element(%p.2), index=0
  ROOT %lt.2 = pred[]{:T(512)} compare(%i.2, %limit.2), direction=LT
}

%fused (p.3: f32[8,4]) -> bf16[8,4] {
  %p.3 = f32[8,4]{1,0:T(8,128)S(1)} parameter(0)
  ROOT %half = bf16[8,4]{1,0:T(8,128)(2,1)} convert(%p.3)
}

%body (p.4: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p.4 = (s32[]{:T(128)}, /*index=1*/f32[8,4]{1,0:T(8,128)}) parameter(0)
  %two = s32[]{:T(128)} constant(2)
  %copy = s32[]{:T(128)} copy(%two)
  %x = f32[8,4]{1,0:T(8,128)} get-tuple-element(%p.4), index=1
  %fusion = bf16[8,4]{1,0:T(8,128)(2,1)} fusion(%x), kind=kLoop, calls=%fused, metadata={op_name="f(x)"}
  %init.4 = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) tuple(%copy, %x)
  ROOT %while.4 = (s32[], f32[8,4]) while(%init.4), condition=%inner_condition, body=%inner_body
}

%condition (p.5: (s32[], f32[8,4])) -> pred[] {
  %p.5 = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) parameter(0)
  %i.5 = s32[]{:T(128)} get-tuple-element(%p.5), index=0
  %limit.5 = s32[]{:T(128)} constant(10)
  ROOT %lt.5 = pred[]{:T(512)} compare(%i.5, %limit.5), direction=LT
}

ENTRY %main (x.6: f32[8,4]) -> f32[8,4] {
  %x.6 = f32[8,4]{1,0:T(8,128)} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %init = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) tuple(%zero, %x.6)
  %while = (s32[], f32[8,4]) while(%init), condition=%condition, body=%body
  ROOT %result = f32[8,4]{1,0:T(8,128)} get-tuple-element(%while), index=1
}
"""


def test_loops_multiply_and_start_where_their_counter_does():
  """10 rounds of a body that holds one fusion and a loop from 2 to 5."""
  times = {computation.name: (count, fused) for computation, count, fused in hlo.parse(NESTED).executed()}
  assert times == {"main": (1, False), "body": (10, False), "fused": (10, True), "inner_body": (30, False)}


def test_a_trip_count_that_is_written_down_is_believed():
  text = NESTED.replace("body=%inner_body", 'body=%inner_body, backend_config={"known_trip_count":{"n":"7"}}')
  times = {computation.name: count for computation, count, _ in hlo.parse(text).executed()}
  assert times["inner_body"] == 70


def test_types_operands_and_memory_are_read():
  program = hlo.parse(NESTED)
  body = program.computations["body"]
  assert [array.shape for array in body.instructions["p.4"].arrays] == [(), (8, 4)]
  fusion = body.instructions["fusion"]
  assert (fusion.opcode, fusion.operands, fusion.calls["calls"]) == ("fusion", ("x",), "fused")
  assert fusion.arrays[0].bytes == 64 and not fusion.arrays[0].fast
  assert program.computations["fused"].instructions["p.3"].arrays[0].fast
  assert body.root.name == "while.4"
  assert [user.name for user in body.users["x"]] == ["fusion", "init.4"]


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("HloModule nothing\n", "no ENTRY computation"),
    (NESTED.replace("direction=LT", "direction=NE"), "does not say how often it runs"),
    (NESTED.replace("while(%init)", "while(%init"), "cut short"),
  ],
)
def test_a_program_that_cannot_be_read_is_refused(text, words):
  with pytest.raises(BadInput, match=words):
    list(hlo.parse(text).executed())
