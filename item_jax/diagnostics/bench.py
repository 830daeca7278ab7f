"""Measures the real step and the real input of a config before a long run."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from item_jax.config import Config
from item_jax.config_check import validate
from item_jax.data import images, pipeline
from item_jax.data.order import training_order
from item_jax.data.unreadable import UNREADABLE, readable
from item_jax.diagnostics.trace import largest_costs
from item_jax.errors import UserError
from item_jax.models import cost
from item_jax.remote import check_local
from item_jax.training import heap, sharding
from item_jax.training import setup as setup_lib

_WARM_UP = 3  # steps


@dataclasses.dataclass(frozen=True)
class StepRates:
  """How quick the compiled step is."""

  samples_per_second: float
  seconds_per_step: float  # median
  flops_per_sample: float
  flops_per_second: float
  mfu: float | None  # None where the device's peak in `dtype` is not known
  # On a device: the allocator's, or by the compiler's analysis without one.
  peak_memory_bytes: int
  batch_size: int
  steps: int  # that were timed
  device: str
  devices: int
  dtype: str
  # (kernel, fraction of the time) of one traced step; None: none was traced.
  largest_costs: list[tuple[str, float]] | None = None

  def to_dict(self) -> dict[str, Any]:
    values = dataclasses.asdict(self)
    del values["dtype"]
    if self.largest_costs is None:
      del values["largest_costs"]
    return values

  def __str__(self) -> str:
    mfu = f"peak of the device in {self.dtype} not known"
    if self.mfu is not None:
      mfu = f"{self.mfu:.1%} MFU"
    lines = [
      f"{self.samples_per_second:,.1f} samples/s,"
      f" {1e3 * self.seconds_per_step:.1f} ms a step (median of {self.steps}),"
      f" {self.flops_per_second / 1e12:.3f} TFLOP/s, {mfu},"
      f" {self.peak_memory_bytes / 2**30:.2f} GiB at most on a device"
    ]
    costs = self.largest_costs or []
    lines += [f"  {fraction:6.1%}  {name}" for name, fraction in costs]
    if self.largest_costs == []:
      lines.append("  the trace names no kernels")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class InputRates:
  """How quick the input is, as a whole and in stages."""

  images_per_second: float  # of the whole
  stages: dict[str, float]  # {name: rows a second on one core}
  limit: str  # the slowest stage
  workers: int
  threads: int  # of each worker
  batch_size: int

  def to_dict(self) -> dict[str, Any]:
    return dataclasses.asdict(self)

  def __str__(self) -> str:
    lines = [
      f"{self.images_per_second:,.0f} images/s with {self.workers} workers and"
      f" {self.threads} threads each"
    ]
    for name, rate in self.stages.items():
      mark = "  <- limits" if name == self.limit else ""
      lines.append(f"  {name:18} {rate:10,.0f} rows/s a core{mark}")
    return "\n".join(lines)


def bench_step(
  config: Config, *, seconds: float = 20.0, profile: Path | None = None
) -> StepRates:
  """Times the compiled step on one real batch that stays on the device.

  Args:
    config: of the run; its data is read.
    seconds: how long, at least 3 steps.
    profile: a folder for the trace of one step; None traces none.

  Raises:
    UserError: the config has no step, or could not run.
  """
  check_local(profile)
  if not config.steps:
    raise UserError(
      "steps=0: there is no step to time; give --config.steps=1"
      " --config.optim.warmup=0"
    )
  heap.keep_freed()
  setup = setup_lib.set_up(config, None)
  config = setup.config
  batch = sharding.to_devices(
    setup.mesh,
    config.batch_size,
    next(_batches(setup.store, setup.tokenizer, config, setup)),
  )
  assert setup.step is not None  # there are steps
  state, report = setup.initialise(), None
  for _ in range(_WARM_UP):
    state, report = setup.step(state, batch)
  jax.block_until_ready(report)
  times = []
  begin = time.perf_counter()
  while time.perf_counter() - begin < seconds or len(times) < 3:
    start = time.perf_counter()
    state, report = setup.step(state, batch)
    jax.block_until_ready(report)
    times.append(time.perf_counter() - start)
  costs = None
  if profile is not None:
    with jax.profiler.trace(str(profile)):
      state, report = setup.step(state, batch)
      jax.block_until_ready(report)
    costs = largest_costs(profile)
  median = sorted(times)[len(times) // 2]
  rate = config.batch_size / median
  peak = cost.peak_flops(setup.device, config.model.dtype)
  used = rate * setup.task.train_flops
  return StepRates(
    samples_per_second=rate,
    seconds_per_step=median,
    flops_per_sample=setup.task.train_flops,
    flops_per_second=used,
    mfu=used / (peak * jax.device_count()) if peak else None,
    peak_memory_bytes=_peak_memory(jax.devices()[0], setup.step),
    batch_size=config.batch_size,
    steps=len(times),
    device=setup.device,
    devices=jax.device_count(),
    dtype=config.model.dtype,
    largest_costs=costs,
  )


def bench_input(config: Config, *, seconds: float = 20.0) -> InputRates:
  """Times the input as a run uses it, and each of its stages by itself.

  Raises:
    UserError: the config could not run, or there is no time to measure in.
  """
  if not 0 < seconds < math.inf:
    raise UserError(f"seconds={seconds}: must be above 0, and finite")
  validate(config, devices=jax.device_count())
  if config.data.features:
    raise UserError(
      f"data.features={config.data.features}: what is timed here is reading"
      " pixels, which such a run does not: give --config.data.features="
    )
  store, tokenizer = setup_lib.open_data(config)
  batches = _batches(store, tokenizer, config, None)
  next(batches)  # workers start, files open
  rows, begin = 0, time.perf_counter()
  while time.perf_counter() - begin < seconds:
    next(batches)
    rows += config.batch_size
  whole = rows / (time.perf_counter() - begin)
  del batches

  source = store.source(config.data.train_split)
  sample = list(readable(source, range(min(len(source), 512))))
  m = config.model
  stored = [record.image for record in sample if record.image]
  stages = {
    "read": _rate(lambda i: source[i], len(source), seconds / 8),
    "tokenise": _rate(
      lambda i: tokenizer.encode(sample[i].title, m.max_title_tokens),
      len(sample),
      seconds / 8,
    ),
  }
  if stored:
    stages["decode and resize"] = _rate(
      lambda i: images.load_square(stored[i], m.image_size),
      len(stored),
      seconds / 8,
    )
  return InputRates(
    images_per_second=whole,
    stages=stages,
    limit=min(stages, key=stages.__getitem__),
    workers=config.data.workers,
    threads=config.data.read_threads,
    batch_size=config.batch_size,
  )


def _batches(store, tokenizer, config: Config, setup):
  size = config.batch_size
  return pipeline.training_batches(
    store,
    config.data.train_split,
    tokenizer,
    image_size=config.model.image_size,
    max_title_tokens=config.model.max_title_tokens,
    batch_size=size,
    seed=config.seed,
    start=0,
    stop=2**31,
    order=training_order(config, store),
    host_rows=sharding.host_rows(setup.mesh, size) if setup else None,
    grids=setup.grids.get(config.data.train_split) if setup else None,
    workers=config.data.workers,
    read_threads=config.data.read_threads,
    prefetch=config.data.prefetch,
  )


def _rate(work: Callable, size: int, seconds: float) -> float:
  begin, done = time.perf_counter(), 0
  while time.perf_counter() - begin < seconds:
    for _ in range(16):
      with contextlib.suppress(*UNREADABLE):  # a run tolerates some, too
        work(done % size)
      done += 1
  return done / (time.perf_counter() - begin)


def _peak_memory(device, compiled) -> int:
  stats = device.memory_stats()
  if stats and "peak_bytes_in_use" in stats:
    return stats["peak_bytes_in_use"]
  memory = compiled.memory_analysis()
  return memory.argument_size_in_bytes + memory.temp_size_in_bytes
