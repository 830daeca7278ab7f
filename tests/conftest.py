"""What tests share: four pretend devices, a tiny model, a tiny catalogue."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Random examples are the same in every run, so that a law that breaks does so
# for who broke it. `--hypothesis-profile=random` looks further.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None, max_examples=2_000)
settings.load_profile("same")

# A shell starts background jobs with Ctrl-C ignored, and so would every program
# be that tests start to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before jax is imported: laws about many devices are tested in this process.
# Compiling is what tests spend their time on, so it optimises nothing.
os.environ["XLA_FLAGS"] = (
  "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
)
os.environ["JAX_PLATFORMS"] = "cpu"


def _share_programs() -> None:
  """What one process compiles serves all others, those of pytest-xdist too."""
  if "JAX_COMPILATION_CACHE_DIR" in os.environ:
    return
  folder = tempfile.mkdtemp(prefix="item-jax-programs-")
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": folder,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
  }


_share_programs()

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


# The longest first, so that two workers end at about the same time.
LONGEST = (
  "test_parity",
  "test_resume",
  "test_front_door",
  "test_compare",
  "test_mirror",
  "test_watchdog",
  "test_cluster",
  "test_tasks",
  "test_step",
  "test_pretrain",
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
