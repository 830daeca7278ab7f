"""A run's programs are kept by what they are made of, and never mistaken."""

import json
import os
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from jax.experimental.compilation_cache import compilation_cache

from item_jax.config import Config, flatten, from_flat
from item_jax.training import kept_programs, sharding
from item_jax.training.kept_programs import KeptPrograms
from item_jax.training.loop import train

TOKENIZER = types.SimpleNamespace(fingerprint="abc")
X = np.arange(64, dtype=np.float32).reshape(8, 8)


def changed(name, value, config=None) -> Config:
  return from_flat(flatten(config or Config()) | {name: value})


def work(x):
  return jnp.sort(jnp.sin(x) @ x, axis=0) + jnp.cos(x)


@pytest.fixture
def jaxs_cache(request, tmp_path):
  """jax's own cache: an empty one, or none."""
  before = jax.config.values["jax_compilation_cache_dir"]
  least = "jax_persistent_cache_min_compile_time_secs"
  seconds = jax.config.values[least]

  def point_to(folder, seconds):
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update(least, seconds)
    compilation_cache.reset_cache()

  point_to(str(tmp_path / "jax") if request.param else None, 0)
  yield
  point_to(before, seconds)


without_jaxs = pytest.mark.parametrize("jaxs_cache", [False], indirect=True)
with_jaxs = pytest.mark.parametrize("jaxs_cache", [True], indirect=True)
pytestmark = pytest.mark.usefixtures("jaxs_cache")


def wait_until_kept() -> None:
  for thread in threading.enumerate():
    if thread.name == "keep-program":
      thread.join()


class Start:
  """What one start of a command does with a program."""

  def __init__(self, folder, config=None, function=work, others=()):
    mesh = sharding.make_mesh(jax.device_count(), 1)
    # A function of its own: what another start has compiled is not at hand.
    jitted = jax.jit(
      lambda x: function(x), out_shardings=sharding.replicated(mesh)
    )
    self.lowered = 0

    def lower():
      self.lowered += 1
      return jitted.lower(X)

    kept = KeptPrograms(folder, config or Config(), TOKENIZER, mesh, others)
    with ThreadPoolExecutor(2) as pool:
      kept.begin(["step"], pool)
      self.found = kept.has("step")
      self.program = kept.compile("step", lower, pool).result()
    wait_until_kept()
    np.testing.assert_array_equal(self.program(X), jitted(X))


def files(folder, ending):
  return sorted(folder.glob(f"*{ending}"))


@without_jaxs
def test_a_second_start_lowers_nothing(tmp_path):
  first, second = Start(tmp_path), Start(tmp_path)
  assert (first.found, first.lowered) == (False, 1)
  assert (second.found, second.lowered) == (True, 0)
  assert second.program.memory_analysis() is not None


@without_jaxs
@pytest.mark.parametrize(
  "change",
  [
    {"config": changed("seed", 1)},
    {"config": changed("optim.lr", 0.5)},
    {"others": [("a/b", "c")]},
  ],
)
def test_another_run_takes_no_program_of_this_one(change, tmp_path):
  Start(tmp_path)
  assert not Start(tmp_path, **change).found


@without_jaxs
@pytest.mark.parametrize("name", ["XLA_FLAGS", "FLAX_FIX_RNG_SEPARATOR"])
def test_options_of_the_environment_are_part_of_a_program(
  name, tmp_path, monkeypatch
):
  Start(tmp_path)
  monkeypatch.setenv(name, "--of_another_start")  # both were read long ago
  assert not Start(tmp_path).found


@without_jaxs
def test_a_start_on_other_cores_takes_no_program_of_this_one(
  tmp_path, monkeypatch
):
  """XLA divides a program among the cores that compile it."""
  Start(tmp_path)
  monkeypatch.setattr(kept_programs, "count_cores", lambda: 1000)
  assert not Start(tmp_path).found


@without_jaxs
def test_another_kind_of_device_takes_no_program_of_this_one(tmp_path):
  """The repr of a GPU is CudaDevice(id=0), whatever its kind."""

  class Device:
    client = jax.devices()[0].client

    def __init__(self, kind):
      self.device_kind = kind

    def __repr__(self):
      return "CudaDevice(id=0)"

  def name_of(kind):
    devices = np.array([Device(kind)])
    mesh = types.SimpleNamespace(devices=devices, shape={"data": 1, "fsdp": 1})
    return KeptPrograms(tmp_path, Config(), TOKENIZER, mesh, ())._name("step")

  assert name_of("A100") == name_of("A100") != name_of("H100")


@without_jaxs
@pytest.mark.parametrize("changed", ["ours", "library"])
def test_changed_sources_are_other_sources(changed, tmp_path, monkeypatch):
  """Changed while a process runs, nothing is kept: it may run the old ones."""
  modules = {}
  for name in ("ours", "library"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "step.py").write_text("1")
    modules[name] = types.ModuleType(name)
    modules[name].__path__ = [str(tmp_path / name)]
    monkeypatch.setitem(sys.modules, name, modules[name])
  monkeypatch.setattr(kept_programs, "item_jax", modules["ours"])
  monkeypatch.setattr(kept_programs, "_TRACED", ("library",))
  kept, source = tmp_path / "kept", tmp_path / changed / "step.py"

  modules["ours"].IMPORTED = time.time() + 60  # after all that is written
  Start(kept)
  assert Start(kept).found
  source.write_text("22")
  assert not Start(kept).found
  modules["ours"].IMPORTED = time.time() - 60
  source.write_text("333")
  Start(kept)
  assert len(files(kept, ".name")) == 2


@without_jaxs
def test_where_the_data_lie_is_in_no_program(tmp_path):
  Start(tmp_path)
  assert Start(tmp_path, changed("data.path", "elsewhere")).found


@without_jaxs
def test_other_sources_with_another_program_compile_anew(tmp_path, monkeypatch):
  Start(tmp_path)
  monkeypatch.setattr(kept_programs, "_hash_sources", lambda: "others")
  # Start compares with what the function gives.
  other = Start(tmp_path, function=lambda x: work(x) * 2)
  assert (other.found, other.lowered) == (False, 1)
  assert len(files(tmp_path, ".program")) == 2


@without_jaxs
def test_other_sources_of_the_same_program_compile_nothing(
  tmp_path, monkeypatch
):
  Start(tmp_path)
  monkeypatch.setattr(kept_programs, "_hash_sources", lambda: "others")
  monkeypatch.setattr(jax.stages.Lowered, "compile", None)
  assert Start(tmp_path).lowered == 1
  assert Start(tmp_path).lowered == 0
  assert len(files(tmp_path, ".program")) == 1


@without_jaxs
@pytest.mark.parametrize("ending", [".program", ".name"])
@pytest.mark.parametrize("content", [b"", b"\0/../x", b"\xff" * 500])
def test_what_was_altered_is_compiled_anew(ending, content, tmp_path):
  Start(tmp_path)
  (path,) = files(tmp_path, ending)
  path.write_bytes(content)
  assert Start(tmp_path).lowered == 1
  assert Start(tmp_path).lowered == 0


@without_jaxs
def test_what_another_user_wrote_is_not_run(tmp_path, monkeypatch):
  Start(tmp_path)
  monkeypatch.setattr(os, "getuid", lambda: 12_345)
  assert Start(tmp_path).lowered == 1


@without_jaxs
@pytest.mark.parametrize("mode", [0o020, 0o002])  # of a group, of everybody
@pytest.mark.parametrize("ending", ["", ".program"])
def test_what_others_may_write_is_not_run(mode, ending, tmp_path):
  folder = tmp_path / "runs"
  Start(folder)
  assert not Start(folder).lowered
  path = files(folder, ending)[0] if ending else folder
  path.chmod(path.stat().st_mode | mode)
  assert Start(folder).lowered == 1


@without_jaxs
def test_a_loose_umask_keeps_programs_private(tmp_path):
  before = os.umask(0)
  try:
    Start(tmp_path / "runs")
  finally:
    os.umask(before)
  assert not Start(tmp_path / "runs").lowered


@without_jaxs
def test_a_program_that_no_longer_loads_is_compiled_anew(tmp_path, monkeypatch):
  Start(tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr(kept_programs.serialize_executable, "deserialize_and_load", 0)
    assert Start(tmp_path).lowered == 1
  assert Start(tmp_path).lowered == 0


@with_jaxs
def test_what_jax_had_compiled_is_not_kept(tmp_path):
  """It could be written and read, and would fail at the first step."""
  Start(tmp_path / "a")
  Start(tmp_path / "b")
  assert not (tmp_path / "b").exists()
  assert Start(tmp_path / "b").lowered == 1


@without_jaxs
def test_the_least_recently_used_go(tmp_path, monkeypatch):
  Start(tmp_path)
  (old,) = files(tmp_path, ".program")
  monkeypatch.setattr(kept_programs, "_LIMIT", old.stat().st_size * 1.5)
  Start(tmp_path, function=lambda x: work(x) + 1, others=[1])
  (new,) = files(tmp_path, ".program")
  assert new != old
  (name,) = files(tmp_path, ".name")
  assert name.read_text() == new.stem


@without_jaxs
def test_what_a_kill_left_of_a_program_goes_too(tmp_path, monkeypatch):
  part, last = tmp_path / "a.program.part", tmp_path / "b.program"
  part.write_bytes(b"half")
  os.utime(part, (1, 1))
  (tmp_path / "x-step.name").write_text("a" * 500)  # no name of a file
  monkeypatch.setattr(kept_programs, "_LIMIT", 5)
  kept_programs._save(last, b"whole", tmp_path / "y-step.name")
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    last.name,
    "y-step.name",
  ]


@without_jaxs
def test_several_starts_forget_at_once(tmp_path, monkeypatch):
  monkeypatch.setattr(kept_programs, "_LIMIT", 100)

  def keep(start: int) -> None:
    for number in range(50):
      path = tmp_path / f"{start}x{number}.program"
      kept_programs._save(path, b"x" * 60, tmp_path / f"{path.stem}.name")

  with ThreadPoolExecutor(4) as pool:
    list(pool.map(keep, range(4)))
  assert len(files(tmp_path, ".program")) <= 1


@without_jaxs
@pytest.mark.parametrize(
  "field", ["model.name=a:B", "task=a:B", "objectives=a:B"]
)
def test_nothing_is_kept_of_other_packages(field, tmp_path):
  name, value = field.split("=")
  value = (value,) if name == "objectives" else value
  Start(tmp_path / "kept", changed(name, value))
  assert not (tmp_path / "kept").exists()


@without_jaxs
def test_a_run_of_kept_programs_is_the_same_run(tiny_data, tmp_path):
  config = tiny_run.get_config("roberta")
  config.data.path = str(tiny_data)
  losses = []
  for name in ("first", "second"):
    train(config, tmp_path / name, programs=tmp_path / "programs")
    wait_until_kept()
    rows = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    losses.append([json.loads(row).get("loss") for row in rows])
  assert losses[0] == losses[1]
  assert len(files(tmp_path / "programs", ".name")) == 2
