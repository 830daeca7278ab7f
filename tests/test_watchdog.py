"""Every process names the one that stalls, where and when, and all end."""

import faulthandler
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import shell
import warm

from item_jax.distributed.progress import Peer, Status
from item_jax.distributed.watchdog import Watchdog

LOOP = Path(__file__).parent / "helpers" / "progress_loop.py"
STALL = 5
# What is asked of a loaded machine: the limit, a look a second at each end,
# the time in which a last status is read, and the load itself.
WITHIN = STALL + 20


def start_loops(*words, count: int = 2) -> list[subprocess.Popen]:
  port = shell.free_port()
  many = [f"--coordinator=localhost:{port}", f"--num_processes={count}"]
  return [
    warm.Popen(
      [
        sys.executable,
        str(LOOP),
        f"--stall_seconds={STALL}",
        "--join_seconds=60",
        *([*many, f"--process_id={i}"] if count > 1 else []),
        *words,
      ],
      env=shell.environment(),
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for i in range(count)
  ]


def run_up(processes) -> None:
  for process in processes:
    seen = b""
    # Byte by byte: what a buffer has taken, `communicate` does not find.
    while not seen.endswith(b"running"):
      byte = os.read(process.stdout.fileno(), 1)
      assert byte, seen
      seen += byte


def end(process, code: int = 6) -> str:
  """The one line about the stall, of a process that ended of it."""
  try:
    output, _ = process.communicate(timeout=WITHIN)
  finally:
    process.kill()
  assert process.returncode == code, output
  lines = [x for x in output.splitlines() if x.startswith("item-jax: stalled")]
  assert len(lines) == 1, output
  assert "most recent call first" in output
  return lines[0]


# Together, as what takes time here is to wait.
SOME = ((signal.SIGSTOP, 0), (signal.SIGTERM, 1), ("hang", 1), ("fail", 1))
OTHERS = ((signal.SIGSTOP, 1), (signal.SIGKILL, 0), ("hang", 0), ("fail", 0))
DEADLY = (signal.SIGTERM, signal.SIGKILL)


@pytest.mark.parametrize(
  "cases", [SOME, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=str
)
def test_a_host_that_stops_dies_hangs_or_fails_is_named_by_all(cases):
  runs = {
    (what, who): start_loops(f"--{what}={who}:input:120")
    if what in ("hang", "fail")
    else start_loops()
    for what, who in cases
  }
  for processes in runs.values():
    run_up(processes)
  for (what, who), processes in runs.items():
    if what in (signal.SIGSTOP, *DEADLY):
      processes[who].send_signal(what)
  for (what, who), processes in runs.items():
    named = f"stalled: process {who} of 2 (host "
    line = end(processes[1 - who])
    assert named in line
    assert re.search(r"in stage '(input|step)' at step \d\d", line)
    assert f"this is process {1 - who} of 2" in line
    if what == "fail":
      assert "ended by OSError: no such photo" in line
      output, _ = processes[who].communicate(timeout=WITHIN)
      assert "OSError: no such photo" in output
      assert "stalled" not in output
      assert processes[who].returncode == 1
    elif what in DEADLY:
      processes[who].communicate()
      assert processes[who].returncode == -what
    else:
      # What was stopped can't go on either.
      processes[who].send_signal(signal.SIGCONT)
      line = end(processes[who])
      assert named in line
    if what in ("hang", "fail"):
      assert "in stage 'input' at step 120" in line


@pytest.fixture
def watched(monkeypatch):
  """Makes the watchdog of process `me` of three; it ends by SystemExit."""

  def end(self, cause):
    raise SystemExit(cause)

  monkeypatch.setattr(Watchdog, "_end", end)

  def make(me: int, **peers: Peer) -> Watchdog:
    watchdog = Watchdog(60)
    watchdog._me, watchdog._count = me, 3
    watchdog._peers = {int(name[1:]): peer for name, peer in peers.items()}
    return watchdog

  return make


HERE = Status("a", "step", 7)


def test_a_process_that_fails_with_another_does_not_name_it(watched):
  """Of three, 2 was killed; 0 fails of that, and so did 1, a moment earlier."""
  now = time.monotonic()
  fellow = HERE._replace(ended="JaxRuntimeError: connection closed")
  watchdog = watched(
    0,
    p1=Peer(fellow, now, now - 8),  # still sends its status, every second
    p2=Peer(HERE, now - 8, now - 8),
  )
  with pytest.raises(SystemExit, match=r"process 2 of .* silent for 8 s"):
    watchdog._find_cause(jax.errors.JaxRuntimeError("connection closed"))


def test_a_stopped_process_names_itself_wherever_it_was_stopped(
  watched, monkeypatch
):
  """Between two looks, or in one, when the others have been silent since."""
  clock = [1000.0]
  monkeypatch.setattr(time, "monotonic", lambda: clock[0])
  looks = []

  def stop_in_a_look(*given, **options):
    looks.append(clock[0])
    if len(looks) == 3:
      clock[0] += 90  # stopped here: this process looks, and runs no more

  monkeypatch.setattr("faulthandler.dump_traceback_later", stop_in_a_look)
  for stopped_in_a_look in (False, True):
    looks[:] = [0.0] * (0 if stopped_in_a_look else 9)
    peers = {f"p{i}": Peer(HERE, clock[0], clock[0]) for i in (1, 2)}
    watchdog = watched(0, **peers)

    class Over:
      def wait(self, seconds, watchdog=watchdog):
        clock[0] += 90 if len(looks) == 11 else seconds
        return False

    watchdog._over = Over()
    with pytest.raises(SystemExit, match=r"process 0 .* itself stood still"):
      watchdog._watch()


def test_a_stopped_process_that_fails_of_its_stop_names_itself(watched):
  """Its connection was closed meanwhile, which it finds out first."""
  watchdog = watched(1, p0=Peer(HERE, 0, 0))
  watchdog._looked -= 90
  with pytest.raises(SystemExit, match=r"process 1 .* itself stood still"):
    watchdog._find_cause(jax.errors.JaxRuntimeError("connection closed"))
  with pytest.raises(SystemExit, match=r"process 1 .* itself stood still"):
    watchdog._on_abort()


def test_who_waits_for_one_that_moves_waits_on():
  """Longer than the limit: in an export one host may well be slower."""
  processes = start_loops("--late=1:12", "--steps=12")
  for process in processes:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output


def test_what_is_refused_in_one_process_keeps_its_code():
  processes = start_loops("--refuse=0:input:120")
  run_up(processes)
  other, refused = processes
  assert "stalled: process 0 of 2" in end(refused)
  output, _ = other.communicate(timeout=WITHIN)
  assert other.returncode == 2, output
  assert "item-jax: error: no such option" in output
  assert "stalled" not in output


def test_all_start_again_where_one_was_asked_before_there_is_anything():
  """As `export` is stopped, and `train` in its set-up: 75 everywhere, soon."""
  runs = {
    (how, who): start_loops(f"--stops={how}", "--stall_seconds=60")
    for how in ("early", "together")
    for who in (0, 1)
  }
  for processes in runs.values():
    run_up(processes)
  for (_, who), processes in runs.items():
    processes[who].send_signal(signal.SIGTERM)
  for case, processes in runs.items():
    for process in processes:
      output, _ = process.communicate(timeout=WITHIN)
      assert process.returncode == 75, (case, output)
      assert "stalled" not in output, case


def test_one_process_alone_names_itself():
  (process,) = start_loops("--hang=0:step:120", count=1)
  run_up([process])
  line = end(process)
  assert "process 0 of 1" in line
  assert "in stage 'step' at step 120" in line


def test_it_watches_where_no_second_thread_can_be_made(monkeypatch):
  """As under a limit of memory: `faulthandler` has a thread of its own."""
  found, ended = [], threading.Event()

  def refuse(*_, **__):
    raise RuntimeError("unable to start watchdog thread")

  def end(self, cause):
    found.append(cause)
    ended.set()
    self._over.set()

  monkeypatch.setattr(faulthandler, "dump_traceback_later", refuse)
  monkeypatch.setattr(Watchdog, "_end", end)
  with Watchdog(3) as watchdog:
    watchdog.update("step", 1)
    watchdog.update("step", 2)  # not the first time any more
    assert ended.wait(30)
  assert "in stage 'step' at step 2" in found[0]


def start_training(data, workdir, *words) -> list[subprocess.Popen]:
  """Two processes that train for ever, past the first time of any stage."""
  processes = shell.start_together(
    *shell.train_words(data, workdir, "--config.steps=1000000", *words),
    *("--config.eval_every=1000000", "--config.checkpoint.every=1000000"),
    "--stall_seconds=6",
  )
  path = workdir / "metrics.jsonl"
  deadline = time.monotonic() + 300
  while not (path.exists() and '"step": 15' in path.read_text()):
    assert time.monotonic() < deadline
    assert [p.poll() for p in processes] == [None, None]
    time.sleep(0.05)
  time.sleep(2)  # in which each tells the other that it is past set-up
  return processes


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_training_names_the_host_that_stops_or_dies(
  tiny_data, tmp_path, who, number
):
  processes = start_training(tiny_data, tmp_path / "run")
  processes[who].send_signal(number)
  line = end(processes[1 - who])
  assert f"stalled: process {who} of 2 (host " in line
  assert re.search(r"last seen in stage '(input|step)' at step \d+", line)
  processes[who].kill()
  processes[who].communicate()


@pytest.mark.slow
def test_training_names_the_host_whose_input_hangs(tiny_data, tmp_path):
  processes = start_training(
    tiny_data, tmp_path / "run", "--config.data.workers=1"
  )
  family = shell.children(processes[1].pid).items()
  (worker,) = [pid for pid, command in family if "spawn_main" in command]
  os.kill(worker, signal.SIGSTOP)
  for process in processes:
    line = end(process)
    assert "stalled: process 1 of 2 (host " in line
    assert "in stage 'input' at step" in line
  assert worker not in shell.children(worker)  # gone too, though it stood still


@pytest.mark.slow
def test_evaluation_names_the_host_that_stops(tmp_path):
  """One that stands still before its table is read: that is a pipe there."""
  rng = np.random.default_rng(0)
  port = shell.free_port()
  processes = []
  for i in range(2):
    folder = tmp_path / str(i)
    folder.mkdir()
    np.save(folder / "x.npy", rng.normal(size=(20, 4)).astype(np.float32))
    table = "id,product\n" + "".join(f"{n},{n // 2}\n" for n in range(20))
    if i:
      os.mkfifo(folder / "items.csv")
    else:
      (folder / "items.csv").write_text(table)
    words = ["evaluate", "--embeddings=x.npy", "--items=items.csv"]
    words += [f"--coordinator=localhost:{port}", "--num_processes=2"]
    processes.append(
      warm.Popen(
        [
          *(sys.executable, "-m", "item_jax", *words),
          *(f"--process_id={i}", f"--stall_seconds={STALL}"),
        ],
        cwd=folder,
        env=shell.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  deadline = time.monotonic() + 120
  while True:  # until the pipe is being opened
    assert time.monotonic() < deadline
    try:
      os.open(tmp_path / "1" / "items.csv", os.O_WRONLY | os.O_NONBLOCK)
      break
    except OSError:
      time.sleep(0.05)
  time.sleep(2)  # in which it tells the other that it is there
  processes[1].send_signal(signal.SIGSTOP)
  assert "stalled: process 1 of 2 (host " in end(processes[0])
  processes[1].kill()
  processes[1].communicate()
