"""Steps are compiled for chips that are not here, by a child process."""

import importlib
import importlib.util
import json
import subprocess
import tempfile
import threading

import pytest
import shell

from item_jax import config_flags
from item_jax.__main__ import main
from item_jax.diagnostics import aot, targets
from item_jax.diagnostics.hlo import Collective
from item_jax.errors import UserError

PLAIN = f"--config={shell.CONFIG}:plain"
FOUND = aot.Compiled(
  arguments=2_000_000_000,
  temporary=3_500_000_000,
  flops=6e12,
  traffic=7e9,
  attention="cudnn",
  fused=24,
  collectives=[
    Collective("all-reduce", "f32", False, 2, 374_000_000),
    Collective("all-gather", "bf16", True, 12, 5_000_000),
  ],
  seconds=75.2,
  cpu_seconds=80.6,
  versions={"jax": "0.10.2"},
)


@pytest.mark.parametrize(
  ("name", "chips", "grid"),
  [
    ("h100", 1, (1,)),
    ("h100x8", 8, (8,)),
    ("v5e:1", 1, (1, 1)),
    ("v5e:16x16", 256, (16, 16)),
    ("v5p:2x2x4", 16, (2, 2, 4)),
  ],
)
def test_names_of_targets(name, chips, grid):
  found = targets.find_target(name)
  assert (found.chips, found.grid) == (chips, grid)


@pytest.mark.parametrize(
  "name", ["", "h200", "h100x0", "v5e", "v5e:2x2x2", "v9:2x2", "h100:8"]
)
def test_names_of_none(name):
  with pytest.raises(UserError, match="expected such as h100, h100x8"):
    targets.find_target(name)


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--compile=h100", "--chips=8"], "--compile is of machines of its own"),
    (["--compile=h100", "--table"], "--table is of machines of its own"),
    (["--hlo=X", "--chips=1", "--memory=1", "--peak=1"], "--compile is needed"),
    (["--compile=v5e:2x2x2"], "form a grid of 2 axes, not 3"),
    ([], "or --compile or --table"),
  ],
)
def test_flags_that_do_not_fit_together(flags, said, capsys):
  assert main(["plan", PLAIN, *flags]) == 2
  assert said in capsys.readouterr().err


def test_the_compiler_stands_beside_the_arithmetic(
  monkeypatch, tmp_path, capsys
):
  asked = []

  def compile_for(config, target, **options):
    asked.append((target.name, options))
    return FOUND

  monkeypatch.setattr(aot, "compile_for", compile_for)
  out, hlo = tmp_path / "plan.json", tmp_path / "hlo"
  words = ["plan", PLAIN, "--compile=h100x8", "--words=300"]
  assert main([*words, f"--json={out}", f"--hlo={hlo}"]) == 0
  assert asked == [("h100x8", {"vocab_size": 300, "folder": hlo})]
  said = capsys.readouterr().out
  assert said.startswith(aot.COST)  # before the wait
  found = json.loads(out.read_text())
  planned = found["memory_bytes"]["total"] / 1e9
  for line in (
    "compiled for h100x8 (jax 0.10.2) in 75 s, 81 of the processor",
    f"  {'at once, at most':42} {5.5:10.3f} {planned:11.3f}",
    # 6e12 on each of 8 chips, 16 pairs.
    f"{'GFLOPs a sample':44} {3000:10.3f}",
    "attention: cudnn, 24 fused calls",
    "2 all-reduce of f32, 374.000 MB, nothing runs meanwhile",
    "12 all-gather of bf16, 5.000 MB, beside other work",
  ):
    assert line in said
  assert found["machine"]["chips"] == 8
  assert found["compiled"]["collectives"][0]["bytes"] == 374_000_000


@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed"
)
def test_what_to_install_is_one_line(capsys):
  assert main(["plan", PLAIN, "--compile=v5e:2x2"]) == 2
  last = capsys.readouterr().err.strip().splitlines()[-1]
  assert "no compiler for v5e:2x2 here: pip install 'item-jax[aot]'" in last


def test_ctrl_c_ends_the_child(monkeypatch):
  begun = []

  def interrupted(child, request):
    begun.append(child)
    raise KeyboardInterrupt

  monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
  with tempfile.TemporaryFile("w+") as log, pytest.raises(KeyboardInterrupt):
    aot._run_child("{}", log)
  assert begun[0].returncode is not None


def test_a_child_that_ends_without_an_answer_is_an_error(monkeypatch):
  monkeypatch.setattr(aot, "_run_child", lambda request, log: None)
  with pytest.raises(UserError, match="the compiler of h100 ended"):
    aot.compile_for(
      config_flags.parse(f"{shell.CONFIG}:plain", []),
      targets.find_target("h100"),
      vocab_size=300,
    )


def test_a_second_one_waits_for_the_first():
  entered = threading.Event()

  def second():
    with aot._alone():
      entered.set()

  with aot._alone():
    waiting = threading.Thread(target=second)
    waiting.start()
    assert not entered.wait(0.3)
  assert entered.wait(30)
  waiting.join()


def compiled(name: str, *options: str) -> aot.Compiled:
  target = targets.find_target(name)
  package = "jax_plugins.xla_cuda13" if target.kind.config else "libtpu"
  try:
    importlib.import_module(package)
  except ImportError:
    pytest.skip(f"{package} is not installed")
  config = config_flags.parse(
    f"{shell.CONFIG}:plain",
    ["--config.model.dtype=bfloat16", *(f"--config.{x}" for x in options)],
  )
  return aot.compile_for(config, target, vocab_size=300)


@pytest.mark.slow
def test_a_tpus_compiler_adds_gradients_up_in_float32():
  """Each once: parameters, and not the token table a second time."""
  found = compiled("v5e:2x2", "model.width=128", "model.mlp=512")
  reduced = [one for one in found.collectives if one.kind == "all-reduce"]
  assert {one.dtype for one in reduced} <= {"f32", "s32", "u32"}
  small = compiled(
    "v5e:2x2", "model.width=128", "model.mlp=512", "mesh.reduce_dtype=bfloat16"
  )
  assert any("bf16" in one.dtype for one in small.collectives)


@pytest.mark.slow
def test_a_gpus_compiler_takes_cudnn_at_odd_lengths():
  """A listing with its image alone is 1 + 4 positions."""
  found = compiled(
    "h100x4", "model.width=128", "model.heads=2", "loss.align=1.0"
  )
  assert found.attention == "cudnn"
  assert found.fused % 2 == 0
  assert found.fused >= 6
