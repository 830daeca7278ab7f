"""What tests share: four pretend devices, a tiny model, a tiny catalogue."""

import contextlib
import gc
import hashlib
import os
import platform
import signal
import time
from importlib import metadata
from pathlib import Path

import pytest
import shell
from hypothesis import settings

# Random examples are the same in every run, so that a law that breaks does so
# for who broke it. `--hypothesis-profile=random` looks further.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None, max_examples=2_000)
settings.load_profile("same")

# Tracing makes objects by the hundred thousand, of which none is garbage: it
# takes a sixth less where the collector looks at them seldom.
gc.set_threshold(200_000, 50, 50)

# A shell starts background jobs with Ctrl-C ignored, and so would every program
# be that tests start to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before jax is imported: laws about many devices are tested in this process.
os.environ["XLA_FLAGS"] = shell.xla_flags(devices=4)
os.environ["JAX_PLATFORMS"] = "cpu"


def _share_programs() -> None:
  """What one process compiles serves all others, of this run and of later ones.

  The folder is of one version of jax and one kind of processor. A program that
  is a month old is compiled anew, so that what no test needs goes.
  """
  if "JAX_COMPILATION_CACHE_DIR" in os.environ:
    return
  cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
  kind = f"{metadata.version('jaxlib')} {platform.machine()} {_cpu()}"
  name = hashlib.sha256(kind.encode()).hexdigest()[:16]
  folder = cache / "item-jax" / "test-programs" / name
  folder.mkdir(parents=True, exist_ok=True)
  for path in folder.iterdir():
    with contextlib.suppress(FileNotFoundError):  # another worker was quicker
      if path.stat().st_mtime < time.time() - 30 * 86_400:
        path.unlink()
  os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": str(folder),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
  }


def _cpu() -> str:
  """What the processor can do, as far as the system tells."""
  with contextlib.suppress(OSError):
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x for x in lines if x.startswith(("flags", "Features"))), "")
  return ""


_share_programs()

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


# The longest first, so that two workers end at about the same time.
LONGEST = (
  "test_resume",
  "test_front_door",
  "test_tasks",
  "test_parity",
  "test_compare",
  "test_step",
  "test_watchdog",
  "test_pretrain",
  "test_plan",
  "test_item",
  "test_meshes",
  "test_saver",
  "test_export",
  "test_mirror",
  "test_cluster",
)


def pytest_addoption(parser):
  parser.addoption(
    "--slow", action="store_true", help="also what takes minutes (mark: slow)"
  )


def pytest_collection_modifyitems(config, items):
  rank = {name: place for place, name in enumerate(LONGEST)}
  items.sort(key=lambda item: rank.get(item.module.__name__, len(rank)))
  if not config.getoption("--slow"):
    later = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]


@pytest.fixture(scope="session")
def shared_data() -> Path:
  """Real catalogues; there only where the project is developed."""
  if not SHARED_DATA.is_dir():
    pytest.skip(f"{SHARED_DATA} does not exist here")
  return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
  """60 invented products, prepared; for tests of what comes after."""
  from item_jax.ingest.prepare import prepare
  from item_jax.synthetic.synthesize import synthesize

  folder = tmp_path_factory.mktemp("tiny")
  synthesize(
    folder / "catalogue", products=60, seed=1, image_size=64, workers=1
  )
  prepare(
    folder / "catalogue" / "products.csv",
    images=folder / "catalogue",
    out=folder / "data",
    tokenizer=None,
    vocab_size=300,
    max_rejected=0.0,
    overwrite=False,
    workers=1,
  )
  return folder / "data"
