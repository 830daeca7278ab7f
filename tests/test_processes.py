"""How a command ends: by a signal at any moment, or when nobody reads on."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shell
import warm

from item_jax.cli.output import forgiving


def catches(process, number: signal.Signals) -> bool:
  """Whether the kernel would call a handler of it."""
  for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
    if line.startswith("SigCgt:"):
      return bool(int(line.split()[1], 16) >> (number - 1) & 1)
  return False


def ends_with(process, code: int, within: float = 10) -> None:
  begin = time.monotonic()
  output, _ = process.communicate(timeout=60)
  assert process.returncode == code, output
  assert time.monotonic() - begin < within
  assert "Traceback" not in output
  if code == 75:
    assert "stopped; the same command goes on" in output


def stopped_before_jax(words) -> subprocess.Popen:
  """Started, so far that it hears signals, and held there."""
  for _ in range(10):  # a busy machine may look too late
    process = shell.start(*words, cold=True)
    while not catches(process, signal.SIGTERM):
      assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    if "jaxlib" not in Path(f"/proc/{process.pid}/maps").read_text():
      return process
    process.kill()
    process.communicate()
  pytest.fail("jax is there before a signal is heard")


@pytest.mark.parametrize(
  "words",
  [
    f"train --config={shell.CONFIG} --workdir=W",
    "export --workdir=W --data=D --out=E",
    "compare --data=D --out=E",
  ],
  ids=lambda words: words.split()[0],
)
def test_a_signal_before_jax_is_imported_says_start_again(words):
  process = stopped_before_jax(words.split())
  process.send_signal(signal.SIGTERM)
  process.send_signal(signal.SIGCONT)
  ends_with(process, 75)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_waits_for_the_others_says_start_again(
  tiny_data, tmp_path, number
):
  port = shell.free_port()
  words = shell.train_words(tiny_data, tmp_path / "run")
  process = shell.start(
    *words,
    *(f"--coordinator=localhost:{port}", "--num_processes=2"),
    "--process_id=0",
  )
  deadline = time.monotonic() + 120
  while True:  # until it listens
    assert time.monotonic() < deadline
    try:
      socket.create_connection(("localhost", port)).close()
      break
    except OSError:
      time.sleep(0.05)
  process.send_signal(number)
  ends_with(process, 75)


def test_what_nobody_reads_ends_quietly(tiny_data):
  done = shell.unread("verify", tiny_data)
  assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_what_nobody_reads_is_written_all_the_same(tmp_path):
  np.save(tmp_path / "V.npy", np.eye(4, dtype=np.float32))
  (tmp_path / "I.csv").write_text("id,product\n1,a\n2,a\n3,b\n4,b\n")
  files = [tmp_path / name for name in ("scores.json", "queries.csv")]
  done = shell.unread(
    *("evaluate", f"{tmp_path / 'V.npy'}:{tmp_path / 'I.csv'}"),
    *(f"--json={files[0]}", f"--per_query={files[1]}"),
  )
  assert done.returncode == 128 + signal.SIGPIPE
  assert all(file.is_file() for file in files)


@pytest.mark.slow
def test_a_run_that_nobody_reads_ends_quietly(tiny_data, tmp_path):
  words = shell.train_words(tiny_data, tmp_path / "run", variant="short")
  done = shell.unread(*words)
  assert done.returncode == 128 + signal.SIGPIPE
  assert "Traceback" not in done.stderr
  assert "Exception ignored" not in done.stderr


def test_a_disk_that_takes_no_output_costs_lines_alone(monkeypatch):
  with open("/dev/full", "w") as full, monkeypatch.context() as patch:
    patch.setattr(sys, "stdout", full)
    with forgiving("stdout"):
      for _ in range(3):
        print("x" * 100_000, flush=True)
      print("y")
    full.flush()  # what is left goes nowhere, and fails no more


@pytest.mark.parametrize(
  ("full", "code"),
  [(["stdout"], 4), (["stderr"], 0), (["stdout", "stderr"], 4)],
)
def test_what_a_command_found_is_not_lost_without_a_word(
  tiny_data, tmp_path, full, code
):
  """What it says at its end; but of its warnings and bars no command fails."""
  catalogue = tiny_data.parent / "catalogue"
  words = ["prepare", catalogue / "products.csv", f"--images={catalogue}"]
  words += [f"--out={tmp_path / 'data'}", "--workers=1", "--vocab_size=300"]
  with open("/dev/full", "w") as disk:
    streams = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    done = warm.run(
      [sys.executable, "-m", "item_jax", *map(str, words)],
      text=True,
      **streams | dict.fromkeys(full, disk),
    )
  assert done.returncode == code
  if full == ["stdout"]:
    last = done.stderr.splitlines()[-1]
    assert last.startswith("item-jax: stopped: [Errno 28]"), done.stderr
  if full == ["stderr"]:
    assert "written to" in done.stdout


@pytest.mark.slow
def test_a_run_whose_output_has_no_room_goes_on(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  words = shell.train_words(tiny_data, workdir, variant="short")
  with open("/dev/full", "w") as full:
    done = warm.run(
      [sys.executable, "-m", "item_jax", *words],
      env=shell.environment(),
      stdout=full,
      stderr=full,
      timeout=300,
    )
  assert done.returncode == 0
  assert (workdir / "checkpoints" / "8" / "manifest.json").is_file()


def test_what_is_left_of_shared_memory_is_removed_and_not_told():
  program = (
    "import os; from multiprocessing import shared_memory;"
    " from item_jax.distributed import processes;"
    " processes.sweep_shared_memory();"
    " left = shared_memory.SharedMemory(create=True, size=1);"
    " print(left.name, flush=True); os._exit(0)"
  )
  done = subprocess.run(  # until the tracker ends too, which holds stderr
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  assert done.stderr == ""
  assert not Path("/dev/shm", done.stdout.strip()).exists()


def test_a_stop_is_told_once_however_slow_that_is():
  program = (
    "import os, time\n"
    "from item_jax.distributed.processes import ended_by_signals\n"
    "write = os.write\n"
    "os.write = lambda *args: (time.sleep(0.5), write(*args))\n"
    "with ended_by_signals(75):\n"
    "  print('ready', flush=True); time.sleep(60)"
  )
  with subprocess.Popen(
    [sys.executable, "-c", program],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    told = process.stderr.read()
  assert process.returncode == 75
  assert told == "item-jax: stopped; the same command goes on\n"


def test_a_full_pipe_that_nobody_reads_holds_no_stop_back():
  program = (
    "import time; from item_jax.distributed.processes import ended_by_signals\n"
    "with ended_by_signals(75):\n"
    "  print('ready', flush=True); time.sleep(60)"
  )
  read, write = os.pipe()
  os.set_blocking(write, False)
  with contextlib.suppress(BlockingIOError):  # full
    while os.write(write, bytes(65_536)):
      pass
  os.set_blocking(write, True)
  process = subprocess.Popen(
    [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=write
  )
  with process:
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 75
  os.close(read)
  os.close(write)


def test_a_second_sigterm_ends_what_hears_no_first_one():
  """As while XLA compiles: Python's handlers wait until a call of C ends."""
  program = (
    "import hashlib\n"
    "from item_jax.distributed.processes import interrupted_by_sigterm\n"
    "with interrupted_by_sigterm():\n"
    "  print('ready', flush=True)\n"
    "  hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
  )
  with subprocess.Popen(
    [sys.executable, "-c", program], stdout=subprocess.PIPE
  ) as process:
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
      process.wait(timeout=1)
    process.send_signal(signal.SIGTERM)
    try:
      assert process.wait(timeout=10) == 143
    finally:
      process.kill()


def test_sigterm_stays_ignored_where_a_shell_ignores_it():
  program = (
    "import os, signal\n"
    "from item_jax.distributed.processes import interrupted_by_sigterm\n"
    "with interrupted_by_sigterm():\n"
    "  os.kill(os.getpid(), signal.SIGTERM)\n"
    "print('went on')"
  )
  done = subprocess.run(
    ["sh", "-c", 'trap \'\' TERM; exec "$0" -c "$1"', sys.executable, program],
    capture_output=True,
    text=True,
  )
  assert (done.stdout, done.stderr) == ("went on\n", "")
