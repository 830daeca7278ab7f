"""Planned memory is held against what accelerators' compilers laid out.

`kept/compiled_memory.json` has their figures, of whole steps compiled by `plan
--compile` on a host without a GPU or TPU.
"""

import importlib
import json
from pathlib import Path

import pytest

from item_jax import config_flags
from item_jax.diagnostics import aot, plan_page, targets
from item_jax.diagnostics.plan import VOCAB_SIZE, Plan, plan

ROOT = Path(__file__).parents[1]
KEPT = json.loads((ROOT / "tests/kept/compiled_memory.json").read_text())
CASES = {f"{case['target']} {case['run']}": case for case in KEPT["cases"]}
QUICK = "h100 item_base.py"
# Small programs on TPUs, and a stem's features, which `plan` counts once for
# each pass that reads them (docs/accelerators.md).
APART = {
  "h100 item_stem.py data.features= batch_size=512": 1.11,
  "v5e:2x2 item_base.py model.layers=2 batch_size=256 mesh.fsdp=4": 1.19,
  "v5e:1 item_base.py model.layers=3 batch_size=64 model.remat=True": 1.13,
}


def config_of(case):
  name, *options = case["run"].split()
  options = [f"--config.{x}" for x in options]
  return config_flags.parse(str(ROOT / "configs" / name), options)


def planned(case) -> Plan:
  config, target = config_of(case), targets.find_target(case["target"])
  config.model.attention = case["attention"]
  machine = plan_page.machine_of(target.chips, target.kind)
  return plan(config, machine, vocab_size=VOCAB_SIZE)


def assert_safe(case, most: float = 1.1) -> None:
  """State and batch to a hundredth; all of it, or up to `most` times it."""
  m = planned(case).memory
  arguments = m.parameters + m.opt_state + m.batch
  # TPUs lay arrays out in whole tiles, which parts of parameters fill less.
  in_parts = case["target"].startswith("v5e") and "mesh.fsdp" in case["run"]
  near = 0.05 if in_parts else 0.01
  assert arguments == pytest.approx(case["arguments"], rel=near)
  ratio = m.total / (case["arguments"] + case["temporary"])
  assert 1 <= ratio <= most, (ratio, m)


@pytest.mark.parametrize("name", CASES)
def test_the_plan_is_a_compilers_or_up_to_a_tenth_more(name):
  assert_safe(CASES[name], APART.get(name, 1.1))


@pytest.mark.slow
def test_the_plan_is_what_is_compiled_now():
  try:
    importlib.import_module("jax_plugins.xla_cuda13")
  except ImportError:
    pytest.skip("the compiler of GPUs is not installed")
  case = CASES[QUICK]
  found = aot.compile_for(
    config_of(case), targets.find_target("h100"), vocab_size=VOCAB_SIZE
  )
  assert found.attention == case["attention"]
  sizes = {"arguments": found.arguments, "temporary": found.temporary}
  assert_safe(case | sizes)
