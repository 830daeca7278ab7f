"""Measures the real step and the real input of a config before a long run: a
Config in, numbers out, printed and as JSON."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax

from item_jax.config import Config
from item_jax.config_check import validate
from item_jax.data import images, pipeline
from item_jax.data.unreadable import UNREADABLE, readable
from item_jax.diagnostics.trace import largest_costs
from item_jax.errors import UserError
from item_jax.models import cost
from item_jax.remote import check_local
from item_jax.training import setup as setup_lib
from item_jax.training import sharding

_WARM_UP = 3  # steps


def bench_step(
  config: Config,
  *,
  seconds: float = 20.0,
  json_path: Path | None = None,
  profile: Path | None = None,
) -> dict:
  """Times the compiled step on one real batch that stays on the device.

  Returns:
    samples_per_second, seconds_per_step (median), flops_per_sample,
    flops_per_second, mfu (None where the device's peak in model.dtype is not
    known),
    peak_memory_bytes a device (the allocator's, or by the compiler's analysis
    where there is none), device, devices; with `profile` the folder also
    largest_costs, of one traced step.
  """
  check_local(profile)
  if not config.steps:
    raise UserError(
      "steps=0: there is no step to time; give --config.steps=1"
      " --config.optim.warmup=0"
    )
  setup = setup_lib.set_up(config, None)
  batch = sharding.to_devices(
    setup.mesh,
    config.batch_size,
    next(_batches(setup.store, setup.tokenizer, config, setup.mesh)),
  )
  state = setup.initialise()
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
  device = jax.devices()[0]
  peak = cost.peak_flops(device.device_kind, config.model.dtype)
  used = rate * setup.task.train_flops
  result = {
    "samples_per_second": rate,
    "seconds_per_step": median,
    "flops_per_sample": setup.task.train_flops,
    "flops_per_second": used,
    "mfu": used / (peak * jax.device_count()) if peak else None,
    "peak_memory_bytes": _peak_memory(device, setup.step),
    "batch_size": config.batch_size,
    "steps": len(times),
    "device": device.device_kind,
    "devices": jax.device_count(),
  }
  if costs is not None:
    result["largest_costs"] = costs
  mfu = f"peak of the device in {config.model.dtype} not known"
  if peak:
    mfu = f"{result['mfu']:.1%} MFU"
  print(
    f"{rate:,.1f} samples/s, {1e3 * median:.1f} ms a step (median of"
    f" {len(times)}), {used / 1e12:.3f} TFLOP/s, {mfu},"
    f" {result['peak_memory_bytes'] / 2**30:.2f} GiB at most on a device"
  )
  for name, share in costs or []:
    print(f"  {share:6.1%}  {name}")
  if costs == []:
    print(f"  the trace in {profile} names no kernels")
  return _write(result, json_path)


def bench_input(
  config: Config, *, seconds: float = 20.0, json_path: Path | None = None
) -> dict:
  """Times the input as a run uses it, and each of its stages by itself.

  Returns:
    images_per_second of the whole; stages {name: rows a second on one core};
    limit, the slowest stage.
  """
  validate(config, devices=jax.device_count())
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
  photos = [record.image for record in sample if record.image]
  stages = {
    "read": _rate(lambda i: source[i], len(source), seconds / 8),
    "tokenise": _rate(
      lambda i: tokenizer.encode(sample[i].title, m.max_title_tokens),
      len(sample),
      seconds / 8,
    ),
  }
  if photos:
    stages["decode and resize"] = _rate(
      lambda i: images.load_square(photos[i], m.image_size),
      len(photos),
      seconds / 8,
    )
  limit = min(stages, key=stages.get)
  result = {
    "images_per_second": whole,
    "stages": stages,
    "limit": limit,
    "workers": config.data.workers,
    "threads": config.data.read_threads,
    "batch_size": config.batch_size,
  }
  print(
    f"{whole:,.0f} images/s with {config.data.workers} workers and"
    f" {config.data.read_threads} threads each"
  )
  for name, rate in stages.items():
    mark = "  <- limits" if name == limit else ""
    print(f"  {name:18} {rate:10,.0f} rows/s a core{mark}")
  return _write(result, json_path)


def _batches(store, tokenizer, config: Config, mesh):
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
    host_rows=sharding.host_rows(mesh, size) if mesh else None,
    workers=config.data.workers,
    read_threads=config.data.read_threads,
    prefetch=config.data.prefetch,
  )


def _rate(work: Callable, size: int, seconds: float) -> float:
  begin, done = time.perf_counter(), 0
  while time.perf_counter() - begin < seconds:
    for _ in range(16):
      with contextlib.suppress(*UNREADABLE):  # a run bears some, too
        work(done % size)
      done += 1
  return done / (time.perf_counter() - begin)


def _peak_memory(device, compiled) -> int:
  stats = device.memory_stats()
  if stats and "peak_bytes_in_use" in stats:
    return stats["peak_bytes_in_use"]
  memory = compiled.memory_analysis()
  return memory.argument_size_in_bytes + memory.temp_size_in_bytes


def _write(result: dict, json_path: Path | None) -> dict:
  if json_path is not None:
    Path(json_path).write_text(json.dumps(result, indent=1) + "\n")
  return result
