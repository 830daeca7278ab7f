"""`item-jax prepare`, killed or interrupted, it or its workers: nothing half
done bears the name, nothing is left over, the next call is as good."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warm
from shop import contents, make_shop, photo, write_catalogue

from item_jax.data.records import open_dataset
from item_jax.distributed.processes import shared_memory_prefix
from item_jax.files import check_manifest
from item_jax.ingest.prepare import prepare
from item_jax.new_folder import new_folder

SHM = Path("/dev/shm")
# Just before the name is given; a moment that no clock would hit.
KILLED_WHEN_READY = """
import os, signal, sys
from item_jax.__main__ import main
from item_jax import new_folder
new_folder._rename = lambda *_: os.kill(os.getpid(), 9)
if __name__ == "__main__":
  sys.exit(main())
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
  """150 listings with large images, a second or two of work; `endless.csv`
  has more of them."""
  folder = make_shop(tmp_path_factory.mktemp("shop"))
  for n in range(10):
    data = photo(n, kind="PNG", size=(600, 600))
    (folder / "images" / f"large{n}.png").write_bytes(data)
  rows = [
    (n, n // 2, f"large{n % 10}.png", f"red shirt size {n % 7}", "", split)
    for n, split in enumerate(["train", "val", "test"] * 50)
  ]
  write_catalogue(folder / "c.csv", rows)
  rows = [(n, n, f"large{n % 10}.png", "mug", "", "train") for n in range(9999)]
  write_catalogue(folder / "endless.csv", rows)
  return folder


def prepare_here(shop: Path, out: Path, rows: Path | str = "c.csv") -> None:
  catalogue = shop / rows
  prepare(catalogue, images=shop / "images", out=out, workers=1)


@pytest.fixture(scope="module")
def undisturbed(shop, tmp_path_factory) -> dict[str, bytes]:
  out = tmp_path_factory.mktemp("undisturbed") / "data"
  prepare_here(shop, out)
  check_manifest(out)
  return contents(out)


def command(shop: Path, out: Path, *more: str, rows="c.csv") -> list[str]:
  words = ["prepare", shop / rows, f"--images={shop / 'images'}"]
  return [*map(str, words), f"--out={out}", "--workers=2", *more]


def start(words, *program: str, stderr=subprocess.DEVNULL) -> subprocess.Popen:
  return warm.Popen(
    [sys.executable, *(program or ("-m", "item_jax")), *words],
    stdout=subprocess.DEVNULL,
    stderr=stderr,
    start_new_session=True,
  )


def members(group: int) -> list[int]:
  """Processes of a session that are still running."""
  found = []
  for entry in Path("/proc").iterdir():
    if entry.name.isdecimal():
      try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
      except OSError:
        continue
      if int(fields[3]) == group and fields[0] != "Z":
        found.append(int(entry.name))
  return found


def shared_memory() -> set[str]:
  """Entries of /dev/shm that no process has mapped, and that are not called by
  one that lives: other tests run too."""
  held, called = set(), []
  for process in Path("/proc").glob("[0-9]*"):
    called.append(shared_memory_prefix(int(process.name)))
    with contextlib.suppress(OSError):
      for line in (process / "maps").read_text().splitlines():
        # By inode: what made a semaphore knows it by another name.
        fields = line.split()
        if len(fields) > 5 and fields[5].startswith(f"{SHM}/"):
          held.add(int(fields[4]))
  found = set()
  for path in SHM.glob("*"):
    with contextlib.suppress(FileNotFoundError):
      if path.stat().st_ino not in held:
        found.add(path.name)
  return {name for name in found if not name.startswith(tuple(called))}


def assert_gone(process: subprocess.Popen, before: set[str]) -> None:
  """No child lives longer than 5 s, and none left shared memory behind."""
  process.wait(timeout=5)
  deadline = time.monotonic() + 5
  while members(process.pid):
    assert time.monotonic() < deadline, members(process.pid)
    time.sleep(0.05)
  while not shared_memory() <= before:
    assert time.monotonic() < deadline, shared_memory() - before
    time.sleep(0.2)


def again(shop: Path, out: Path, *more: str) -> dict[str, bytes]:
  """The same command once more; what it wrote, and nothing beside it."""
  process = start(command(shop, out, *more))
  assert process.wait(timeout=300) == 0
  assert os.listdir(out.parent) == [out.name]
  return contents(out)


def wait_for(process, out: Path, pattern: str) -> None:
  """Until the draft holds such a file."""
  deadline = time.monotonic() + 120
  while not any(out.parent.glob(f"{out.name}.preparing-*/{pattern}")):
    assert process.poll() is None, "it ended before it could be killed"
    assert time.monotonic() < deadline
    time.sleep(0.002)


def at_work(shop: Path, out: Path, **streams) -> subprocess.Popen:
  """A run that would not end for long, with workers."""
  process = start(command(shop, out, rows="endless.csv"), **streams)
  wait_for(process, out, "*.part")
  assert len(members(process.pid)) >= 3  # itself and two workers
  return process


def test_killed_at_work(shop, undisturbed, tmp_path):
  out = tmp_path / "made" / "data"
  before = shared_memory()
  process = at_work(shop, out)
  process.kill()
  assert_gone(process, before)
  [draft] = out.parent.iterdir()
  assert draft.name.startswith("data.preparing-")
  with pytest.raises(FileNotFoundError, match="no such folder"):
    open_dataset(out)
  assert again(shop, out) == undisturbed


@pytest.mark.parametrize(
  ("number", "to_all", "code", "told"),
  [
    (signal.SIGINT, True, 130, "item-jax: interrupted"),
    (signal.SIGTERM, True, 143, "item-jax: interrupted by SIGTERM"),
    (signal.SIGTERM, False, 143, "item-jax: interrupted by SIGTERM"),
  ],
)
def test_a_signal_ends_all_and_leaves_nothing(
  shop, tmp_path, number, to_all, code, told
):
  before = shared_memory()
  with open(tmp_path / "stderr", "wb") as file:
    process = at_work(shop, tmp_path / "made" / "data", stderr=file)
  # A terminal sends Ctrl-C to all, a scheduler SIGTERM to all or to the first.
  (os.killpg if to_all else os.kill)(process.pid, number)
  assert process.wait(timeout=20) == code
  *_, last = (tmp_path / "stderr").read_text().splitlines()
  assert last.endswith(told)
  assert "Traceback" not in (tmp_path / "stderr").read_text()
  assert_gone(process, before)
  assert list((tmp_path / "made").iterdir()) == []


def test_another_ones_draft_stays(shop, undisturbed, tmp_path):
  out = tmp_path / "made" / "data"
  process = at_work(shop, out)
  [draft] = out.parent.iterdir()
  prepare_here(shop, out)
  assert sorted(out.parent.iterdir()) == [out, draft]
  assert contents(out) == undisturbed
  process.kill()
  process.wait()


def test_killed_just_before_it_has_its_name(shop, undisturbed, tmp_path):
  out = tmp_path / "made" / "data"
  (tmp_path / "run.py").write_text(KILLED_WHEN_READY)
  before = shared_memory()
  process = start(command(shop, out), str(tmp_path / "run.py"))
  assert process.wait(timeout=120) == -signal.SIGKILL
  assert_gone(process, before)
  [draft] = out.parent.iterdir()
  assert draft.name.startswith("data.preparing-")
  assert contents(draft) == undisturbed  # it lacked nothing but the name
  assert again(shop, out) == undisturbed


@pytest.mark.parametrize(
  ("kilobytes", "named"), [(0, "statistics.sqlite"), (100, "train-0.part")]
)
def test_a_full_disk_is_named_and_leaves_nothing(
  shop, tmp_path, kilobytes, named
):
  limited = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "-"]
  words = command(shop, tmp_path / "data")
  done = subprocess.run(
    [*limited, sys.executable, "-m", "item_jax", *words],
    stderr=subprocess.PIPE,
    text=True,
  )
  assert done.returncode == 4, done.stderr
  last = done.stderr.splitlines()[-1]
  assert last.startswith("item-jax: stopped: "), done.stderr
  assert named in last, done.stderr
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_where_python_does_not_say(tmp_path):
  def fill():
    with (
      new_folder(tmp_path / "data", overwrite=False, replaceable=bool),
      open("/dev/full", "w") as file,
    ):
      file.write("more than it takes")

  with pytest.raises(OSError, match="No space left on device") as raised:
    fill()
  assert str(tmp_path / "data") in str(raised.value)
  assert not list(tmp_path.iterdir())


def kill_a_worker(process) -> None:
  """As soon as there is one: after a death it takes a moment to the next."""
  deadline = time.monotonic() + 60
  while True:
    assert process.poll() is None, "it ended before a worker could be killed"
    assert time.monotonic() < deadline
    for pid in members(process.pid):
      with contextlib.suppress(OSError):  # it has just ended
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
          os.kill(pid, signal.SIGKILL)
          return
    time.sleep(0.01)


def test_killed_workers_cost_nothing(shop, undisturbed, tmp_path):
  out = tmp_path / "made" / "data"
  process = start(command(shop, out))
  wait_for(process, out, "*.part")
  for _ in range(2):
    kill_a_worker(process)
    time.sleep(0.2)
  assert process.wait(timeout=120) == 0
  assert os.listdir(out.parent) == ["data"]
  assert contents(out) == undisturbed


@pytest.mark.slow
def test_killed_at_20_moments(shop, undisturbed, tmp_path):
  """Half of them while an older data set of that name is to be replaced."""
  # Told apart by one title.
  lines = (shop / "c.csv").read_text().replace("size 1", "size one")
  (tmp_path / "old.csv").write_text(lines)
  old = tmp_path / "old"
  prepare_here(shop, old, rows=tmp_path / "old.csv")
  former = contents(old)
  assert former != undisturbed
  begun = time.monotonic()
  out = tmp_path / "timed" / "data"
  process = start(command(shop, out))
  wait_for(process, out, "*.part")
  first = time.monotonic() - begun
  assert process.wait(timeout=120) == 0
  lasts = time.monotonic() - begun
  importing = 0.7 * first / lasts  # the share of it in which nothing is begun
  moments = random.Random(0)
  killed = number = 0
  while killed < 20:
    number += 1
    out = tmp_path / str(number) / "data"
    more = []
    if number % 2:
      shutil.copytree(old, out)
      more = ["--overwrite"]
    before = shared_memory()
    begun = time.monotonic()
    process = start(command(shop, out, *more))
    try:
      process.wait(timeout=lasts * moments.uniform(importing, 1))
      lasts = time.monotonic() - begun  # the machine is not so busy any more
    except subprocess.TimeoutExpired:
      process.kill()
      killed += process.wait() == -signal.SIGKILL
    assert_gone(process, before)
    if out.exists():
      check_manifest(out)
      assert contents(out) in (former, undisturbed)
      open_dataset(out)
    assert again(shop, out, *(more or ["--overwrite"])) == undisturbed
