"""Processes meet, or say why not: none works alone by mistake."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shell
import warm

from item_jax.distributed import cluster
from item_jax.errors import UserError

LOOP = Path(__file__).parent / "helpers" / "progress_loop.py"


def parse(*words):
  parser = argparse.ArgumentParser()
  cluster.add_flags(parser)
  return parser.parse_args(words)


@pytest.fixture
def alone(monkeypatch):
  """An environment that says nothing of others."""
  for name in cluster.COUNTS:
    monkeypatch.delenv(name, raising=False)
  return monkeypatch


def test_one_process_joins_nobody(alone):
  cluster.join(parse())
  alone.setenv("SLURM_NTASKS", "8")  # a batch script has that, and runs once
  alone.setenv("SLURM_STEP_NUM_TASKS", "1")
  cluster.join(parse())
  assert cluster.store() is None


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("SLURM_STEP_NUM_TASKS", "8"),
    ("OMPI_COMM_WORLD_SIZE", "2"),
    ("PMI_SIZE", "2"),
    ("TPU_WORKER_HOSTNAMES", "t1v-n-0,t1v-n-1"),
    ("TPU_PROCESS_ADDRESSES", "10.0.0.1:8476,10.0.0.2:8476"),
    ("MEGASCALE_NUM_SLICES", "2"),
    ("JOB_COMPLETION_INDEX", "0"),
  ],
)
def test_one_of_many_does_not_start_alone(alone, name, value):
  alone.setenv(name, value)
  with pytest.raises(UserError, match=f"{name}={value}.*--distributed"):
    cluster.join(parse())
  cluster.join(parse("--num_processes=1"))  # it is said that it is alone


@pytest.mark.parametrize(
  ("words", "named"),
  [
    ("--coordinator=a:1", "--num_processes, --process_id"),
    ("--num_processes=2 --process_id=0", "without --coordinator"),
    ("--num_processes=2", "without --coordinator, --process_id"),
    ("--coordinator=a:1 --num_processes=2 --process_id=2", "process_id=2"),
    ("--coordinator=a:1 --num_processes=2 --process_id=-1", "process_id=-1"),
    ("--coordinator=a --num_processes=2 --process_id=0", "HOST:PORT"),
    ("--distributed --process_id=0", "one or the other"),
    ("--stall_seconds=-1", "a number of seconds"),
    ("--stall_seconds=nan", "a number of seconds"),
    ("--stall_seconds=inf", "0 to wait for ever"),
  ],
)
def test_flags_that_do_not_fit_are_refused(alone, words, named):
  with pytest.raises(UserError, match=named):
    cluster.join(parse(*words.split()))


def start(*words, **env) -> subprocess.Popen:
  return warm.Popen(
    [sys.executable, LOOP, "--steps=12", *words],
    env=shell.environment() | env,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def plain(port: int, number: int, *words, count: int = 2, **env):
  return start(
    f"--coordinator=localhost:{port}",
    f"--num_processes={count}",
    f"--process_id={number}",
    *words,
    **env,
  )


def end(process, code: int) -> str:
  try:
    output, _ = process.communicate(timeout=90)
  finally:
    process.kill()
  assert process.returncode == code, output
  return output


def test_nothing_detected_is_no_run():
  output = end(start("--distributed"), 2)
  assert "--distributed needs Slurm" in output
  assert "Traceback" not in output


def test_nobody_there_and_a_number_used_twice_end_in_time():
  begin = time.monotonic()
  lonely = plain(shell.free_port(), 1, "--stall_seconds=8")
  port = shell.free_port()
  twice = [plain(port, i, "--stall_seconds=8") for i in (1, 1)]
  output = end(lonely, 2)
  assert "process 1 of 2 did not meet the others at localhost" in output
  assert "within 8 s" in output
  for process in twice:
    assert "--process_id of its own" in end(process, 2)
  assert time.monotonic() - begin < 60


@pytest.mark.slow
def test_a_number_used_twice_beside_the_coordinator_ends_all():
  port = shell.free_port()
  # Steps enough for the last one to come while the others are at work.
  words = ("--stall_seconds=20", "--steps=1000000")
  processes = [plain(port, i, *words) for i in (0, 1, 1)]
  for process in processes:
    output, _ = process.communicate(timeout=90)
    assert process.returncode in (2, 6), output
    assert "item-jax: " in output


@pytest.mark.slow
def test_other_ideas_of_how_many_there_are_end_in_time():
  port = shell.free_port()
  processes = [
    plain(port, 0, "--stall_seconds=20", count=2),
    plain(port, 1, "--stall_seconds=20", count=3),
  ]
  for process in processes:
    assert "number of processes: 2 there, 3 here" in end(process, 2)


def test_what_differs_between_processes_is_named_by_all():
  """Of the command, its numbers aside; of what is handed in; of devices."""
  port = shell.free_port()
  processes = [plain(port, i, f"--same={i}") for i in (0, 1)]
  for process in processes:
    output = end(process, 2)
    assert "process 1 (" in output
    assert "lr: '0' there, '1' here" in output
    assert "--same=1" in output


@pytest.mark.slow
def test_hosts_with_other_numbers_of_devices_are_named():
  port = shell.free_port()
  flag = "--xla_force_host_platform_device_count="
  processes = [plain(port, i, XLA_FLAGS=f"{flag}{i + 1}") for i in (0, 1)]
  for process in processes:
    assert "local devices: 1 there, 2 here" in end(process, 2)


@pytest.mark.parametrize(
  "variables",
  [
    "SLURM_JOB_ID=7 SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2"
    " SLURM_STEP_NUM_TASKS=2 SLURM_PROCID={i} SLURM_LOCALID={i}",
    pytest.param(
      "OMPI_MCA_orte_hnp_uri=4096.0;tcp://127.0.0.1:1"
      " OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK={i}"
      " OMPI_COMM_WORLD_LOCAL_RANK={i}",
      marks=pytest.mark.slow,
    ),
  ],
  ids=["slurm", "openmpi"],
)
def test_distributed_finds_the_others_by_the_environment(variables):
  port = str(shell.free_port())
  processes = [
    start(
      "--distributed",
      JAX_COORDINATOR_PORT=port,
      **dict(v.split("=", 1) for v in variables.format(i=i).split()),
    )
    for i in range(2)
  ]
  for process in processes:
    assert "running" in end(process, 0)


def test_a_command_is_the_same_whoever_says_it():
  words = ["train", "--workdir=a", "--process_id=1", "--coordinator", "h:1"]
  assert cluster.strip_own(words) == ["train", "--workdir=a"]
