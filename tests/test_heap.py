"""Laws of the memory that a process keeps."""

import os
import subprocess
import sys

import pytest

# As XLA does: threads that begin later take large blocks and free them.
CODE = """
import resource, threading
from item_jax.training import heap

def take():
  for _ in range(3):
    b"x" * 40_000_000

print(heap.keep_freed())
threading.Thread(target=take).start()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
while threading.active_count() > 1: pass
take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(code: str, **changes) -> list[str]:
  """What a process says whose user has set nothing of malloc."""
  kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
  done = subprocess.run(
    [sys.executable, "-c", code],
    env=kept | {"JAX_PLATFORMS": "cpu"} | changes,
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc alone")
def test_what_is_freed_is_taken_again():
  said, count = run(CODE)
  # What the user set, whatever it is, stays.
  other, many = run(CODE, MALLOC_ARENA_TEST="8")
  assert (said, other) == ("True", "False")
  pages = 40_000_000 / os.sysconf("SC_PAGE_SIZE")
  assert int(count) < 3 * pages
  assert int(many) > 5 * pages


def test_what_jax_began_with_stays():
  """Its threads would go on as before, and no memory would come back."""
  code = "import jax; jax.devices(); from item_jax.training import heap"
  assert run(f"{code}; print(heap.keep_freed())") == ["False"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc alone")
@pytest.mark.parametrize(("name", "kept"), [("json", "False"), ("jsn", "True")])
def test_where_an_accelerator_may_be_nothing_is_changed(name, kept):
  code = f"from item_jax.training import heap; heap._ACCELERATORS = ({name!r},)"
  assert run(f"{code}; print(heap.keep_freed())", JAX_PLATFORMS="") == [kept]
