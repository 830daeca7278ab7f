"""Planned work is held against what XLA compiles, and a plan against itself.

Its memory is held against accelerators' compilers in test_plan_memory.py.
"""

import json
import sys
import time
from pathlib import Path

import jax
import pytest
import shell
import tiny_run
import warm

from item_jax import config_flags, tasks
from item_jax.__main__ import main
from item_jax.diagnostics import plan_page
from item_jax.diagnostics.plan import Machine, Vocabulary, changed, plan
from item_jax.errors import UserError
from item_jax.models import memory

CONFIGS = Path(__file__).parents[1] / "configs"
CHILD = Path(__file__).parent / "helpers" / "compiled.py"
MACHINE = Machine(chips=4, memory=1e9, peak=1e12)


def compile_steps(data, lines, *, level: str = "0") -> list[dict]:
  """What XLA says of each step, on four devices."""
  env = shell.environment(devices=4)
  env["XLA_FLAGS"] = env["XLA_FLAGS"].replace("level=0", f"level={level}")
  done = warm.run(
    [sys.executable, CHILD, data],
    input="\n".join(f"{CONFIGS}/{line}" for line in lines),
    env=env,
    capture_output=True,
    text=True,
    timeout=3_000,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  found = [x for x in done.stdout.splitlines() if x.startswith('{"line"')]
  return [json.loads(x) for x in found]


def planned(found: dict):
  name, *options = found["line"].split()
  config = config_flags.parse(name, [f"--config.{x}" for x in options])
  machine = MACHINE._replace(chips=found["devices"])
  return plan(
    config, machine, vocab_size=found["words"], classes=max(2, found["classes"])
  )


def compare(found: dict) -> dict[str, float]:
  """Planned over compiled: of state and batch, and of the work of a step."""
  made = planned(found)
  m = made.memory
  arguments = m.parameters + m.opt_state + m.batch
  work = made.flops_per_sample * made.recompute * made.config.batch_size
  # XLA counts a loop's body once, and each device by itself.
  counted = found["flops"] * found["devices"] * made.config.optim.accumulate
  return {
    "arguments": arguments / found["arguments"],
    "flops": work / counted,
  }


def assert_close(found: dict) -> None:
  ratios = compare(found)
  print(found["line"], {k: round(v, 3) for k, v in ratios.items()})
  # jit leaves out what a network does not look at, such as a photo.
  assert ratios["arguments"] == pytest.approx(1, abs=0.03)
  assert ratios["flops"] == pytest.approx(1, abs=0.15), ratios


def test_the_plan_of_a_step_is_what_xla_compiles(tiny_data):
  line = "item_tiny.py model.layers=1 mesh.fsdp=4 optim.accumulate=2"
  (found,) = compile_steps(tiny_data, [line])
  assert_close(found)


SLOW = (
  "item_tiny.py",
  "item_tiny.py model.layers=1",
  "item_tiny.py mesh.fsdp=2",
  "item_tiny.py mesh.fsdp=4 model.norm=post",
  "item_tiny.py optim.accumulate=4 model.dropout=0.1",
  "item_tiny.py batch_size=8",
  "item_small.py model.layers=2 model.image_size=96 batch_size=32"
  " model.dtype=float32",
  "item_small.py model.layers=2 model.image_size=96 batch_size=32",
  "item_base.py model.layers=2 model.width=128 model.heads=4 model.mlp=512"
  " model.image_size=96 batch_size=128 model.dtype=float32",
  "item_base.py model.layers=2 model.width=128 model.heads=4 model.mlp=512"
  " model.image_size=96 batch_size=128",
  "item_base.py batch_size=4",
  "comparison.py:item_align,tiny",
  "comparison.py:item_align_both,tiny",
  "comparison.py:item_supervised,tiny",
  "comparison.py:resnet50,tiny",
  "comparison.py:resnet50,tiny resnet.norm=group",
  "comparison.py:roberta,tiny",
  "comparison.py:clip,tiny",
)


@pytest.fixture(scope="module")
def many(tiny_data) -> dict[str, dict]:
  """What XLA says of each line; one process, as each takes long to begin."""
  found = compile_steps(tiny_data, SLOW)
  return dict(zip(SLOW, found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("line", SLOW)
def test_the_plan_of_many_steps_is_what_xla_compiles(many, line):
  assert_close(many[line])


@pytest.mark.slow
def test_how_hard_the_compiler_tries_changes_no_count(tiny_data):
  line = ["item_tiny.py model.layers=1"]
  (quick,), (usual,) = (
    compile_steps(tiny_data, line, level=level) for level in ("0", "3")
  )
  for name in ("arguments", "flops"):
    assert quick[name] == usual[name]


def residuals(config) -> int:
  """Bytes that reverse mode keeps of one pass, what it is given included."""
  task = tasks.make_task(config, Vocabulary(300))
  batch = tasks.example_batch(config, config.batch_size)

  def forward(batch):
    view = task.objective.corrupt(jax.random.key(0), 0, batch)

    def loss(params):
      totals, _ = task.objective.totals(params, view, jax.random.key(0))
      return sum(totals[name] for name in task.objective.weights)

    return jax.vjp(loss, tasks.initial_params(task, 0))[1]

  kept = jax.tree.leaves(jax.eval_shape(forward, batch))
  return sum(
    x.size * x.dtype.itemsize
    for x in kept
    if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
  )


def test_remat_keeps_a_blocks_input_and_no_more():
  """By jax's own residuals: XLA for the CPU undoes remat's order of work."""
  deep = [tiny_run.get_config() for _ in range(2)]
  # Of few layers the first is the worst, which grows with none.
  for layers, config in enumerate(deep, 5):
    config.model.layers, config.model.remat = layers, True
  plans = [plan(config, MACHINE, vocab_size=300) for config in deep]
  block = 4 * (plans[1].parameters - plans[0].parameters)
  m = deep[0].model
  places = 1 + (m.image_size // m.patch) ** 2 + m.max_title_tokens
  state = deep[0].batch_size * places * m.width * 4
  one, two = (residuals(config) for config in deep)
  assert two - one == pytest.approx(state + block, rel=0.02)
  # The plan's is that of one of four devices.
  grown = plans[1].memory.activations - plans[0].memory.activations
  assert grown == state / 4
  # Work: the forward pass of the encoder once more.
  plain = changed(deep[1], {"model.remat": False})
  again = plan(plain, MACHINE, vocab_size=300)
  assert again.recompute == 1 < plans[1].recompute < 4 / 3
  assert again.memory.activations > plans[1].memory.activations


def test_a_block_by_hand():
  """BERT-base, 256 places, bfloat16: of a pair and a block."""
  sizes = memory.Block(256, 768, 3_072, 12, itemsize=2, dropout=True)
  states, inside, squares = 256 * 768, 256 * 3_072, 12 * 256 * 256

  def block(*chip, **changes):
    return memory.block_bytes(memory.Chip(*chip), sizes._replace(**changes))

  cudnn = states * 16 + inside * 4
  sums = 4 * 12 * 256
  assert block(False, "cudnn", dropout=False) == (cudnn + sums, 0)
  # A bool for each number of two drops.
  assert block(False, "cudnn") == (cudnn + 2 * states + sums, 0)
  xla = states * 18 + inside * 4
  assert block(False, "xla") == (xla + squares * (4 + 2), 0)
  assert block(False, "xla", True)[1] == xla + 12 * states
  # What attention gives is float32.
  tpu = states * (12 + 2) + inside * 2 + squares * 2 + sums
  assert block(True, "xla") == block(True, "xla", True) == (tpu, 0)


def test_what_is_split_and_what_is_not():
  config = tiny_run.get_config()
  config.model.width, config.model.mlp, config.batch_size = 128, 512, 64
  whole = plan(config, MACHINE, vocab_size=1_000).memory
  split = plan(
    changed(config, {"mesh.fsdp": 4}), MACHINE, vocab_size=1_000
  ).memory
  # Gradients of the token table by two decoders, of 1,024 rows: never split.
  table = 2 * 4 * 1_024 * 128
  for name, apart in (
    ("parameters", 0),
    ("opt_state", 0),
    ("gradients", table),
  ):
    a, b = getattr(whole, name) - apart, getattr(split, name) - apart
    assert a / 4 < b < a / 2, name  # biases and norms are copied
  assert split.batch == whole.batch
  assert (whole.gathered, split.gathered) == (0, whole.parameters)
  halved = plan(
    changed(config, {"optim.accumulate": 2}), MACHINE, vocab_size=1_000
  ).memory
  once = table + table // 2  # and the zeros that titles are added to
  assert halved.activations - once == (whole.activations - once) / 2
  assert halved.accumulated == whole.gradients - table


@pytest.mark.parametrize("variant", tiny_run.BASELINES)
def test_every_task_has_a_plan(variant):
  config = tiny_run.get_config(variant)
  config.model.layers = config.clip.text_layers = 4
  made = plan(config, MACHINE, vocab_size=300)
  assert made.fits
  assert min(made.flops_per_sample, made.memory.activations) > 0
  again = plan(changed(config, {"model.remat": True}), MACHINE, vocab_size=300)
  if config.model.name == "resnet50":  # it has no blocks to compute again
    assert again.memory == made.memory
    assert again.recompute == 1
  else:
    assert again.memory.activations < made.memory.activations
    assert again.recompute > 1


@pytest.mark.parametrize("variant", ["plain", "clip"])
def test_what_to_change_is_the_least_that_is_enough(variant):
  config = tiny_run.get_config(variant)
  config.model.layers = config.clip.text_layers = 4
  config.batch_size = 512
  m = plan(config, MACHINE, vocab_size=300).memory
  state = m.parameters + m.opt_state + m.batch
  tight = MACHINE._replace(memory=(state + 0.6 * m.activations) / 0.9)
  small = plan(config, tight, vocab_size=300)
  assert not small.fits
  found = plan_page.changes(small, vocab_size=300)
  assert found
  for change in found:
    assert change.plan.fits
    assert change.plan.memory.total <= 0.9 * tight.memory
    for name, value in change.options.items():
      if value is not True and value > 2:
        less = changed(config, change.options | {name: value // 2})
        assert not plan(less, tight, vocab_size=300).fits, change.options
  offered = {name for change in found for name in change.options}
  # A loss over the whole batch cannot be taken in parts.
  assert ("optim.accumulate" in offered) == (variant == "plain")
  assert "model.remat" in offered
  slow = [change.slowdown for change in found]
  assert slow == sorted(slow)


def test_nothing_helps_where_the_state_alone_is_too_large():
  config = tiny_run.get_config()
  made = plan(config, MACHINE._replace(memory=1e4), vocab_size=300)
  assert plan_page.changes(made, vocab_size=300) == []
  said = plan_page.describe(made, vocab_size=300, decode_rate=1_400)
  assert "more chips" in said


def test_time_is_work_over_what_is_reached():
  config = tiny_run.get_config()
  made = plan(config, Machine(4, 1e9, 1e12, mfu=0.5), vocab_size=300)
  work = made.flops_per_sample * config.steps * config.batch_size
  assert made.seconds == pytest.approx(work / (4 * 1e12 * 0.5))
  assert made.samples == 60 * 16


def test_a_step_takes_its_products_its_update_and_its_gradients():
  """Each bound by hand; fsdp shortens the update, not what is sent."""
  config = tiny_run.get_config()
  bare = Machine(4, 1e9, 1e12)
  slow = bare._replace(bandwidth=1e6, link=1e5)

  def seconds(machine, **options):
    made = plan(
      changed(config, {k.replace("_", "."): v for k, v in options.items()}),
      machine,
      vocab_size=300,
    )
    return config.batch_size / made.samples_per_second, made

  products, made = seconds(bare)
  size = 4 * made.parameters
  assert seconds(slow)[0] - products == pytest.approx(
    8 * size / 1e6 + 2 * 3 / 4 * size / 1e5
  )
  split, made = seconds(slow, mesh_fsdp=4)
  assert split - products == pytest.approx(
    8 * made.memory.parameters / 1e6 + 2 * 3 / 4 * size / 1e5
  )
  config.model.dtype, config.mesh.reduce_dtype = "bfloat16", "bfloat16"
  assert seconds(slow)[0] - products == pytest.approx(
    8 * size / 1e6 + 3 / 4 * size / 1e5
  )


@pytest.mark.parametrize(
  "change",
  [{"chips": 3}, {"chips": 0}, {"memory": -1.0}, {"mfu": 1.5}, {"link": 0.0}],
)
def test_machines_that_cannot_be(change):
  with pytest.raises(UserError):
    plan(tiny_run.get_config(), MACHINE._replace(**change), vocab_size=300)


@pytest.mark.parametrize("count", [-7, 0, 5, 2**31])
def test_vocabularies_that_cannot_be(count):
  with pytest.raises(UserError, match=f"vocab_size={count}"):
    plan(tiny_run.get_config(), MACHINE, vocab_size=count)


def test_the_papers_run_from_the_shell(tmp_path, monkeypatch, capsys):
  words = [
    "plan",
    f"--config={CONFIGS}/item_base.py",
    "--chips=8",
    "--memory=80",
    "--peak=989",
    f"--json={tmp_path / 'plan.json'}",
  ]
  begin = time.process_time()
  assert main(words) == 0
  assert time.process_time() - begin < 30
  out = capsys.readouterr().out
  found = json.loads((tmp_path / "plan.json").read_text())
  assert found["samples"] == 51_200_000
  # 139.7 by the arithmetic of the paper's sizes, without the pair's heads.
  assert found["flops_per_sample"] == pytest.approx(139.7e9, rel=0.03)
  days = 51.2e6 * found["flops_per_sample"] / (8 * 989e12 * 0.4) / 86_400
  assert found["days"] == pytest.approx(days)
  assert f"{found['days']:.3g} days" in out
  assert found["fits"]
  assert "it fits" in out
  total = found["memory_bytes"]["total"]
  assert f"{total / 1e9:.3f}" in out


def test_a_plan_takes_no_device(tmp_path):
  """It is made where the platform that is asked for is not there."""
  env = shell.environment() | {"JAX_PLATFORMS": "cuda"}
  done = warm.run(
    [
      *(sys.executable, "-m", "item_jax", "plan"),
      f"--config={shell.CONFIG}:plain",
      *("--chips=1", "--memory=0.001", "--peak=1"),
    ],
    env=env,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert "it does not fit" in done.stdout


def test_the_docs_show_the_table_that_is_printed(capsys):
  assert not main(["plan", f"--config={CONFIGS}/item_base.py", "--table"])
  said = capsys.readouterr().out.splitlines()
  page = (CONFIGS.parent / "docs" / "training.md").read_text()
  assert "\n".join(line for line in said if line.startswith("|")) in page


def test_the_table_is_of_the_config_on_each_machine(capsys):
  name = f"{shell.CONFIG}:plain"
  options = [
    *("--config.model.width=512", "--config.model.layers=2"),
    "--config.model.dropout=0.1",
  ]
  words = ["plan", f"--config={name}", "--table", "--words=300"]
  assert main([*words, *options]) == 0
  rows = capsys.readouterr().out.splitlines()
  rows = [row.split(" | ") for row in rows if row.startswith(("| 8", "| TPU"))]
  samples = [float(row[1].removesuffix(" M").replace(",", "")) for row in rows]
  assert samples == [51.2, 512.0, 5120.0] * 3
  config = config_flags.parse(name, options)
  config.batch_size, config.steps = 16_384, 312_500
  for row, (_, machine, dtype) in zip(
    rows[2::3], plan_page.MACHINES, strict=True
  ):
    made = plan(
      changed(config, {"model.dtype": dtype}), machine, vocab_size=300
    )
    needed = f"{made.memory.total / 1e9:.1f} of {machine.memory / 1e9:.0f}"
    assert row[3:5] == [needed, "as it is"]


def test_workers_are_as_many_as_a_process_needs():
  made = plan(tiny_run.get_config(), MACHINE, vocab_size=300)
  one = made.samples_per_second / 4
  said = plan_page.describe(made, vocab_size=300, decode_rate=one / 2.5)
  assert "data.workers: at least 3 a process of one chip, 10 of 4\n" in said
  alone = plan(tiny_run.get_config(), MACHINE._replace(chips=1), vocab_size=300)
  said = plan_page.describe(alone, vocab_size=300, decode_rate=one / 2.5)
  assert "data.workers: at least 3 a process\n" in said


@pytest.mark.parametrize(
  "option", ["--chips=2", "--json=plan.json", "--decode_rate=900", "--link=9"]
)
def test_the_table_takes_no_machine(option, capsys):
  words = ["plan", f"--config={shell.CONFIG}:plain", "--table", option]
  assert main(words) == 2
  assert f"not {option.partition('=')[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--memory=-80", "--peak=nan", "--link=0"])
def test_a_machine_that_cannot_be_is_named_as_it_was_given(option, capsys):
  words = ["plan", f"--config={shell.CONFIG}:plain", "--chips=1"]
  assert main([*words, "--memory=80", "--peak=900", option]) == 2
  assert f"{option}: must be above 0" in capsys.readouterr().err


def test_a_vocabulary_is_as_large_as_an_int32_numbers(capsys):
  """Its table is padded: 2**31 - 1 tokens have 2**31 rows."""
  words = ["plan", f"--config={shell.CONFIG}:plain", "--chips=1"]
  words += ["--memory=80", "--peak=900"]
  assert main([*words, f"--words={2**31 - 1}"]) == 2
  most = (2**31 - 1) // 128 * 128
  assert f"to {most}" in capsys.readouterr().err
  assert main([*words, f"--words={most}"]) == 0
