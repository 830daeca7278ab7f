"""Programs' texts are read as a person would count them."""

import textwrap

import pytest

from item_jax.diagnostics import hlo
from item_jax.diagnostics.hlo import Collective


def read(text: str) -> hlo.Program:
  return hlo.read_program(textwrap.dedent(text).strip())


@pytest.mark.parametrize(
  ("shape", "size"),
  [
    ("f32[2,3]{1,0:T(2,128)S(1)}", 24),
    ("bf16[]", 2),
    ("pred[7]", 7),
    ("(f32[4], /*index=1*/s8[3])", 19),
    ("f8e4m3fn[10]", 10),
    ("token[]", 0),
  ],
)
def test_bytes_of_a_shape(shape, size):
  found = read(
    f"""
    ENTRY %main (p: f32[8]) -> f32[8] {{
      ROOT %sent = {shape} all-to-all(%p)
    }}
    """
  )
  assert [one.bytes for one in found.collectives] == [size]


def test_kinds_types_and_bytes_of_what_is_sent():
  """A reduce-scatter is given four times what each of four chips gets."""
  found = read(
    """
    HloModule step

    %add (a: f32[], b: f32[]) -> f32[] {
      ROOT %sum = f32[] add(%a, %b)
    }

    ENTRY %main (p: f32[8]) -> f32[8] {
      %p = f32[8]{0} parameter(0)
      %one = f32[8]{0} all-reduce(%p), replica_groups=[1,4]<=[4], to_apply=%add
      %two = (f32[8]{0}, bf16[2,2]{1,0}) all-reduce(%one, %x), to_apply=%add
      %big = bf16[100]{0} all-gather(%y), dimensions={0}
      %part = f32[2]{0} reduce-scatter(%one), replica_groups={{0,1,2,3}},
      ROOT %r = f32[8]{0} copy(%one), metadata={op_name="an all-reduce(name)"}
    }
    """
  )
  assert found.collectives == [
    Collective("all-gather", "bf16", False, 1, 200),
    Collective("all-reduce", "bf16+f32", False, 1, 32 + 8),
    Collective("all-reduce", "f32", False, 1, 32),
    Collective("reduce-scatter", "f32", False, 1, 4 * 8),
  ]


def test_what_other_work_runs_beside():
  """By a start and a done, or in a computation that is started."""
  found = read(
    """
    HloModule step

    %sent (p: f32[4]) -> f32[16] {
      %p = f32[4]{0} parameter(0)
      ROOT %g = f32[16]{0} all-gather(%p), dimensions={0}
    }

    ENTRY %main (p: f32[4]) -> f32[16] {
      %p = f32[4]{0} parameter(0)
      %s = ((f32[4]{0}), f32[16]{0}, u32[]) async-start(%p), calls=%sent
      %d = f32[16]{0} async-done(%s)
      %r = f32[4]{0} all-reduce-start(%p), to_apply=%add
      %rd = f32[4]{0} all-reduce-done(%r)
      %g = (f32[4]{0}, f32[16]{0}) all-gather-start(%p), dimensions={0}
      ROOT %gd = f32[16]{0} all-gather-done(%g)
    }
    """
  )
  assert found.collectives == [
    Collective("all-gather", "f32", True, 2, 64 + 64),
    Collective("all-reduce", "f32", True, 1, 16),
  ]


def test_a_message_that_fusions_share_is_one():
  """As TPUs send: a start, work that goes on meanwhile, and an end."""
  found = read(
    """
    HloModule step

    %start (p: f32[4]) -> f32[16] {
      %p = f32[4]{0} parameter(0)
      ROOT %g.1 = f32[16]{0} all-gather(%p), channel_id=7, dimensions={0}
    }

    %work (p: f32[4]) -> f32[16] {
      %p = f32[4]{0} parameter(0)
      ROOT %g.2 = f32[16]{0} all-gather(%p), channel_id=7, dimensions={0}
    }

    ENTRY %main (p: f32[4]) -> f32[16] {
      %p = f32[4]{0} parameter(0)
      %s = f32[16]{0} fusion(%p), kind=kCustom, calls=%start
      %w = f32[16]{0} fusion(%p), kind=kOutput, calls=%work
      ROOT %o = f32[16]{0} all-reduce(%w), channel_id=8, to_apply=%add
    }
    """
  )
  assert found.collectives == [
    Collective("all-gather", "f32", True, 1, 64),
    Collective("all-reduce", "f32", False, 1, 64),
  ]


def test_a_loops_body_counts_as_often_as_it_runs():
  found = read(
    """
    HloModule step

    %body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
      %r = f32[8]{0} all-reduce(%x), to_apply=%add
      %a = bf16[4]{0} custom-call(%q), custom_call_target="__cudnn$fmhaSoftmax"
      ROOT %t = (s32[], f32[8]{0}) tuple(%i, %r)
    }

    %more (p: (s32[], f32[8])) -> pred[] {
      ROOT %l = pred[] compare(%i, %n), direction=LT
    }

    ENTRY %main (p: f32[8]) -> f32[8] {
      %w = (s32[], f32[8]{0}) while(%p), condition=%more, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
      %b = bf16[4] custom-call(%q), custom_call_target="__cudnn$fmhaBackward"
      %c = bf16[4] custom-call(%q), custom_call_target="__cublas$lt$matmul"
      ROOT %o = f32[8]{0} get-tuple-element(%w), index=1
    }
    """
  )
  assert found.collectives == [Collective("all-reduce", "f32", False, 3, 96)]
  assert found.attention == 4
