"""The small parts of training: the log, the mesh, the choice of a kernel."""

import gzip
import json
import resource
import struct
import time
import types

import jax
import numpy as np
import pytest
from clu.metrics import Average
from tensorboardX.proto.event_pb2 import Event, SessionLog

from item_jax.config import Config
from item_jax.diagnostics.trace import largest_costs
from item_jax.errors import UserError
from item_jax.training import attention_backend, sharding
from item_jax.training.metric_log import (
  METRICS_FILE,
  Log,
  Stopwatch,
  drop_rows_after,
  progress_line,
)
from item_jax.training.monitor import TrainMonitor
from item_jax.training.setup import describe_cut
from item_jax.training.step import Report


def rows(folder) -> list[dict]:
  text = (folder / METRICS_FILE).read_text()
  return [json.loads(line) for line in text.splitlines()]


def test_many_titles_that_are_cut_come_with_what_to_do():
  few, many = [*range(1, 100), 500], [*range(1, 101)]
  assert describe_cut(few, 100) == (
    "titles: 54.5 tokens, 1.00% cut at 100 positions (of 100)"
  )
  assert describe_cut(many, 22).endswith(
    "79.00% cut at 22 positions (of 100);"
    " --config.model.max_title_tokens=100 cuts 1% of them"
  )
  assert describe_cut(many, 100).startswith("titles: 50.5 tokens, 1.00% cut")


def test_a_resumed_log_goes_on_after_the_restored_step(tmp_path):
  log = Log(tmp_path, start=0)
  for step in (10, 20, 30):
    log.write(step, "train", {"loss": float(step)})
  log.close()
  with (tmp_path / METRICS_FILE).open("a") as file:
    file.write('{"step": 40, "kind": "tr')  # killed while writing
  log = Log(tmp_path, start=20)
  log.write(30, "train", {"loss": 3.0})
  log.close()
  assert [(r["step"], r["loss"]) for r in rows(tmp_path)] == [
    (10, 10.0),
    (20, 20.0),
    (30, 3.0),
  ]
  assert len(list((tmp_path / "tensorboard").glob("events*"))) == 2


def test_rows_that_are_dropped_are_told(tmp_path, caplog):
  caplog.set_level("INFO")
  for start, told in ((0, "no checkpoint"), (20, "the checkpoint of step 20")):
    log = Log(tmp_path, start=start)
    for step in (20, 30):
      log.write(step, "train", {"loss": 1.0})
    log.close()
    caplog.clear()
    Log(tmp_path, start=30).close()
    assert not caplog.messages  # nothing is
    Log(tmp_path, start=start).close()
    (said,) = caplog.messages
    assert said.endswith(f"{METRICS_FILE} went on to step 30; there is {told}")


def test_a_damaged_row_costs_no_other(tmp_path):
  log = Log(tmp_path, start=0)
  for step in (10, 20, 30):
    log.write(step, "train", {"loss": 1.0})
  log.close()
  path = tmp_path / METRICS_FILE
  path.write_bytes(path.read_bytes().replace(b'{"step": 10', b'?"step": 10'))
  before = path.read_text().splitlines()
  drop_rows_after(path, 20)
  assert path.read_text().splitlines() == before[:2]


@pytest.mark.parametrize(
  "line", ["[]", '{"a": 1}', '{"step": "x"}', '{"step": 9}']
)
def test_a_line_that_is_no_row_ends_no_run(line, tmp_path):
  log = Log(tmp_path, start=0)
  log.write(10, "train", {"loss": 1.0})
  log.close()
  path = tmp_path / METRICS_FILE
  before = path.read_text()
  path.write_text(f"{before}{line}\n")
  assert not Log(tmp_path, start=20).has(20, "eval")
  assert path.read_text() == before


def test_rows_wait_while_the_disk_takes_none(tmp_path, caplog):
  """A limit that the kernel enforces cuts a row in half, as a full disk."""
  log = Log(tmp_path, start=0)
  log.write(1, "train", {"loss": 1.0})
  file = tmp_path / METRICS_FILE
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  before = file.read_text()
  resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 9, hard))
  try:
    log.write(2, "train", {"loss": 2.0})
    log.write(3, "train", {"loss": 3.0})
    assert file.read_text() == before + '{"step": '
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  said = caplog.text
  assert said.count("rows are kept in memory") == 1
  assert str(file) in said
  log.write(4, "train", {"loss": 4.0})
  log.close()
  assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4]


def test_rows_wait_while_the_folder_is_gone(tmp_path, caplog):
  folder = tmp_path / "run"
  folder.mkdir()
  log = Log(folder, start=0)
  log.write(1, "train", {"loss": 1.0})
  folder.rename(tmp_path / "away")
  for step in (2, 3):
    log.write(step, "train", {"loss": 1.0})
  (tmp_path / "away").rename(folder)
  log.write(4, "eval", {"recall": 1.0})
  assert [row["step"] for row in rows(folder)] == [1, 2, 3, 4]
  folder.rename(tmp_path / "away")
  log.write(5, "train", {"loss": 1.0})
  log.close()
  said = caplog.text
  assert said.count("rows are kept in memory") == 2
  assert "the last 1 rows are lost" in said


def test_tensorboard_reads_what_was_written(tmp_path):
  log = Log(tmp_path, start=0)
  log.write(10, "train", {"loss": 2.0, "listing_ids": ["a"]})
  log.close()
  log = Log(tmp_path, start=5)
  log.write(6, "train", {"loss": 1.0})
  log.close()
  found = []
  for path in sorted((tmp_path / "tensorboard").iterdir()):
    data = path.read_bytes()
    while data:  # length, its sum, the event, its sum
      (length,) = struct.unpack("<Q", data[:8])
      event = Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]
      restart = event.session_log.status == SessionLog.START
      values = [(v.tag, v.simple_value) for v in event.summary.value]
      found.append((event.step, restart, values))
  assert found == [
    (0, False, []),
    (10, False, [("train/loss", 2.0)]),
    (0, False, []),
    (6, True, []),
    (6, False, [("train/loss", 1.0)]),
  ]


def test_no_log_is_no_error(tmp_path):
  drop_rows_after(tmp_path / METRICS_FILE, 5)
  assert not list(tmp_path.iterdir())


def test_only_one_process_writes(tmp_path):
  log = Log(tmp_path, start=0, active=False)
  log.write(1, "train", {"loss": 1.0})
  log.close()
  assert not list(tmp_path.iterdir())


def test_the_stopwatch_begins_anew_with_each_look():
  watch = Stopwatch()
  watch.count(8)
  first = watch.read()
  assert first["samples_per_second"] > 0
  assert watch.read()["samples_per_second"] == 0


def test_no_row_says_that_more_was_waited_than_it_took(tmp_path):
  """A row is written when the next step's batch has come, and has its wait."""
  log = Log(tmp_path, start=0)
  config = Config()
  config.log_every = 1
  setup = types.SimpleNamespace(
    config=config,
    schedule=lambda step: 0.0,
    task=types.SimpleNamespace(train_flops=1),
    chance_levels={},
  )
  setup.task.objective = types.SimpleNamespace(weights={})
  monitor = TrainMonitor(setup, log)
  zero = np.zeros((), np.int32)
  loss = Average(total=np.float32(1), count=np.float32(1))
  report = Report(*[zero] * 5, np.zeros(1, bool), zero, sums={"loss": loss})
  for step, seconds in ((1, 0.001), (2, 0.05), (3, 0.001)):
    begin = time.perf_counter()
    time.sleep(seconds)
    monitor.on_step(step, report, time.perf_counter() - begin)
  log.close()
  waits = [row["input_wait"] for row in rows(tmp_path)]
  assert len(waits) == 2
  assert all(0.2 < wait <= 1 for wait in waits)


@pytest.mark.parametrize(
  ("seconds", "said"),
  [
    (0, "0:00"),
    (59 * 60 + 59, "59:59"),
    (3_600, "1 h 00"),
    (86_399, "23 h 59"),
    (86_400, "1 d 0 h"),
    (24_048 * 60, "16 d 16 h"),
  ],
)
def test_time_left_is_told_in_what_people_count_in(seconds, said):
  rates = {"samples_per_second": 1.0, "input_wait": 0.0}
  line = progress_line(1, 2, {"loss": 1.0}, {}, rates, seconds)
  assert line.endswith(f" {said} left")


def test_a_loss_stands_before_its_chance_level():
  line = progress_line(
    5,
    100,
    {"loss": 3.0, "gmlm": 4.5, "mim": None},
    {"gmlm": 5.0, "mim": 0.0},
    {"samples_per_second": 250.0, "input_wait": 0.2},
    75,
  )
  for words in (
    "5/100",
    "gmlm 4.500|5.000",
    "mim -|0",
    "250/s",
    "waiting 20%",
    "1:15",
  ):
    assert words in line


def test_hosts_rows_make_up_the_batch():
  mesh = sharding.make_mesh(4, 1)
  assert sharding.host_rows(mesh, 12) == slice(0, 12)
  batch = {"x": np.arange(12), "y": np.zeros((12, 3))}
  placed = sharding.to_devices(mesh, 12, batch)
  np.testing.assert_array_equal(placed["x"], batch["x"])
  assert len(placed["y"].sharding.device_set) == 4


SHAPES = [(16, 2, 8, False), (6, 2, 16, True)]


def test_without_a_gpu_attention_is_xlas():
  assert attention_backend.has_cudnn() == (jax.devices()[0].platform == "gpu")
  kernel, why = attention_backend.choose("auto", shapes=SHAPES, dtype="float32")
  assert kernel == "xla"
  assert why
  with pytest.raises(UserError, match="cudnn"):
    attention_backend.choose("cudnn", shapes=SHAPES, dtype="float32")


@pytest.mark.parametrize(
  ("platform", "version", "capability", "has"),
  [
    ("gpu", "PJRT C API\ncuda 12090", "8.0", True),
    ("gpu", "PJRT C API\ncuda 13000", "10.0", True),
    ("gpu", "PJRT C API\ncuda 12090", "7.0", False),  # V100
    ("gpu", "PJRT C API\nrocm 60204", "gfx90a", False),
    ("cpu", "cpu", None, False),
  ],
)
def test_a_gpu_that_cudnn_knows(
  monkeypatch, platform, version, capability, has
):
  """Not by its name, as "Tesla T4", which may leave out whose it is."""
  device = types.SimpleNamespace(
    platform=platform,
    client=types.SimpleNamespace(platform_version=version),
    compute_capability=capability,
  )
  monkeypatch.setattr(jax, "devices", lambda: [device])
  assert attention_backend.has_cudnn() == has


def test_cudnn_is_taken_where_it_supports_every_shape(monkeypatch):
  def choose(requested="auto", dtype="bfloat16"):
    return attention_backend.choose(requested, shapes=SHAPES, dtype=dtype)

  def lower(shape, *_):
    if shape in unsupported:
      raise NotImplementedError("The head dim must be a multiple of 8")

  monkeypatch.setattr(attention_backend, "has_cudnn", lambda *_: True)
  monkeypatch.setattr(attention_backend, "_lower", lower)
  unsupported = ()
  assert choose() == ("cudnn", "supported")
  assert choose("cudnn") == ("cudnn", "as configured")
  assert choose("xla") == ("xla", "as configured")
  assert choose(dtype="float32")[0] == "xla"
  with pytest.raises(UserError, match=r"model\.dtype=bfloat16"):
    choose("cudnn", dtype="float32")
  unsupported = SHAPES[1:]
  kernel, why = choose()
  assert kernel == "xla"
  assert "(6, 2, 16, True): The head dim" in why
  with pytest.raises(UserError, match="The head dim"):
    choose("cudnn")


def test_pallas_is_taken_where_it_is_asked_for_on_a_tpu(monkeypatch):
  def choose(requested, platform):
    device = types.SimpleNamespace(platform=platform, device_kind="a chip")
    return attention_backend.choose(
      requested, shapes=SHAPES, dtype="bfloat16", device=device
    )

  assert choose("pallas", "tpu") == ("pallas", "as configured")
  assert choose("auto", "tpu")[0] == "xla"
  with pytest.raises(UserError, match="a chip is no TPU"):
    choose("pallas", "gpu")


def test_what_cudnn_supports_is_asked_of_jax():
  """Lowering checks the gradient too; without a GPU there is no cuDNN."""
  attention_backend._lower((16, 2, 8, True), "float32", "xla")
  with pytest.raises((RuntimeError, ValueError, NotImplementedError)):
    attention_backend._lower((16, 2, 8, True), "bfloat16")


def test_a_resumed_run_keeps_its_kernel_where_the_device_has_it(monkeypatch):
  assert attention_backend.resume_with("xla") == ("xla", "as before")
  kernel, why = attention_backend.resume_with(
    "cudnn"
  )  # begun on a GPU, resumed here
  assert kernel == "xla"
  assert "it was cudnn; cpu has none" in why
  assert attention_backend.resume_with("pallas")[0] == "xla"
  monkeypatch.setattr(attention_backend, "has_cudnn", lambda *_: True)
  assert attention_backend.resume_with("cudnn") == ("cudnn", "as before")


def test_a_network_without_attention_needs_no_kernel():
  assert attention_backend.choose("cudnn", shapes=[], dtype="float32") == (
    "xla",
    "the network has none",
  )


def trace(folder, events):
  folder.mkdir()
  with gzip.open(folder / "t.trace.json.gz", "wt") as file:
    json.dump({"traceEvents": events}, file)


def test_the_largest_costs_of_a_gpus_trace(tmp_path):
  names = [
    {
      "ph": "M",
      "name": "process_name",
      "pid": 1,
      "args": {"name": "/device:GPU:0"},
    },
    {
      "ph": "M",
      "name": "thread_name",
      "pid": 1,
      "tid": 7,
      "args": {"name": "Stream #13(Compute)"},
    },
    {
      "ph": "M",
      "name": "thread_name",
      "pid": 1,
      "tid": 8,
      "args": {"name": "XLA Ops"},
    },
  ]
  work = [
    {"ph": "X", "pid": 1, "tid": 7, "name": "gemm_1", "dur": 30},
    {"ph": "X", "pid": 1, "tid": 7, "name": "gemm_22", "dur": 30},
    {"ph": "X", "pid": 1, "tid": 7, "name": "softmax", "dur": 20},
    {"ph": "X", "pid": 1, "tid": 7, "name": "norm", "dur": 15},
    {"ph": "X", "pid": 1, "tid": 7, "name": "copy", "dur": 5},
    {"ph": "X", "pid": 1, "tid": 8, "name": "whole step", "dur": 100},
    {"ph": "X", "pid": 2, "tid": 1, "name": "python", "dur": 900},
  ]
  trace(tmp_path / "t", names + work)
  assert largest_costs(tmp_path / "t") == [
    ("gemm", 0.6),
    ("softmax", 0.2),
    ("norm", 0.15),
  ]


def test_no_trace_no_costs(tmp_path):
  assert largest_costs(tmp_path) == []
