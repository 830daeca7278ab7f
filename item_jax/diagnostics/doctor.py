"""Checks a machine for what would spoil a run before it begins.

Each check returns a `Finding` about the host that it runs on. Where there are
many processes, all of them call each check at the same moment.
"""

import importlib.metadata
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from packaging.requirements import Requirement

from item_jax.distributed.cluster import first_line
from item_jax.models.layers import attend
from item_jax.training.attention_backend import DEVICES, has

OK, WARN, BAD = "ok", "warn", "BAD"
GIB = 2**30
_SHOWN = ("item-jax", "jax", "jaxlib", "flax", "orbax-checkpoint", "grain")
_SKEW, _FAR = 1.0, 60.0  # seconds


class Finding(NamedTuple):
  """What one check has found."""

  level: str  # OK, WARN: worth knowing, BAD: would spoil a run
  what: str
  text: str


def versions() -> Finding:
  """Compares the versions that item-jax and jax need with those installed."""
  wrong, found = [], {}
  for name in ("item-jax", "jax"):
    try:
      requirements = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
      return Finding(BAD, "versions", f"{name} is not installed")
    for line in requirements:
      needed = Requirement(line)
      if needed.marker and not needed.marker.evaluate({"extra": ""}):
        continue
      found[needed.name] = version = _version(needed.name)
      if version is None:
        wrong.append(f"{needed.name} is not there, {name} needs {needed}")
      elif not needed.specifier.contains(version, prereleases=True):
        wrong.append(f"{needed.name} {version}, {name} needs {needed}")
  if wrong:
    return Finding(BAD, "versions", "; ".join(wrong))
  shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN)
  return Finding(OK, "versions", f"{shown}; {len(found)} within their bounds")


def _version(name: str) -> str | None:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


# Of Google's PCI devices those that are TPUs; others are network cards.
_GOOGLE, _TPUS = (
  "0x1ae0",
  {"0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076"},
)


def accelerators(root: Path = Path("/")) -> Counter:
  """Counts {"NVIDIA GPU": ..., "TPU": ...} that the operating system knows."""
  there = Counter()
  there["NVIDIA GPU"] = len(list((root / "dev").glob("nvidia[0-9]*")))
  for vendor in (root / "sys/bus/pci/devices").glob("*/vendor"):
    if vendor.read_text().strip() == _GOOGLE:
      device = vendor.with_name("device").read_text().strip()
      there["TPU"] += device in _TPUS
  return +there


def devices(root: Path = Path("/")) -> Finding:
  """Names the devices that jax uses, and better ones that it does not."""
  local = jax.local_devices()
  there = accelerators(root)
  text = ", ".join(
    f"{count} {kind}"
    for kind, count in Counter(d.device_kind for d in local).items()
  )
  stats = local[0].memory_stats() or {}
  if "bytes_limit" in stats:
    text += f" with {stats['bytes_limit'] / GIB:.1f} GiB each to use"
  if jax.process_count() > 1:
    text += f"; {jax.device_count()} in {jax.process_count()} processes"
  if there and local[0].platform == "cpu":
    names = ", ".join(f"{count} {name}" for name, count in there.items())
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms:
      text += f"; {names} not used, as JAX_PLATFORMS={platforms} says"
      return Finding(WARN, "devices", text)
    text += f"; {names} not used: install the extra cuda12, cuda13 or tpu"
    return Finding(BAD, "devices", text)
  return Finding(OK, "devices", text)


def kernel() -> Finding:
  """Compares a matrix product on each device with numpy's."""
  a, b = np.random.default_rng(0).normal(size=(2, 256, 256)).astype(np.float32)
  exact = a.astype(np.float64) @ b
  product = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))
  worst = 0.0
  for device in jax.local_devices():
    try:
      got = np.asarray(product(*jax.device_put((a, b), device)))
    except RuntimeError as error:
      return Finding(BAD, "kernel", f"{device}: {first_line(error)}")
    off = float(np.abs(got - exact).max() / np.abs(exact).max())
    if not off < 1e-5:
      return Finding(BAD, "kernel", f"{device} is off by {off:.1e}")
    worst = max(worst, off)
  return Finding(
    OK, "kernel", f"a product on each device is numpy's within {worst:.0e}"
  )


def attention(requested: str = "auto") -> Iterator[Finding]:
  """Compares XLA's attention with numpy's, and the others with XLA's.

  Args:
    requested: `model.attention` of the config, which must work then.
  """
  rng = np.random.default_rng(0)
  qkv = rng.normal(size=(3, 2, 64, 2, 64)).astype(np.float32)
  lengths_B = np.array([64, 40], np.int32)

  def run(dtype, implementation):
    out = jax.jit(attend, static_argnames="implementation")(
      *(jnp.asarray(x, dtype) for x in qkv),
      jnp.asarray(lengths_B),
      implementation=implementation,
    )
    return np.asarray(out, np.float32)

  exact = _softmax(qkv[0], qkv[1], qkv[2], lengths_B)
  off = float(np.abs(run("float32", "xla") - exact).max())
  # A GPU's products of float32 are TF32 by default.
  yield Finding(
    OK if off < 0.02 else BAD, "attention xla", f"numpy's within {off:.0e}"
  )
  for kernel, devices in DEVICES.items():
    level, name = BAD if requested == kernel else WARN, f"attention {kernel}"
    if not has(kernel):
      missing = BAD if requested == kernel else OK
      yield Finding(missing, name, f"no {devices}")
      continue
    try:
      got = run("bfloat16", kernel)
    except (RuntimeError, ValueError, NotImplementedError) as error:
      yield Finding(level, name, first_line(error))
      continue
    off = float(np.abs(got - run("bfloat16", "xla")).max())
    yield Finding(OK if off < 0.05 else level, name, f"XLA's within {off:.0e}")


def _softmax(query, key, value, lengths_B):
  logits_BHQK = (
    np.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
  )
  seen_BK = np.arange(key.shape[1]) < lengths_B[:, None]
  logits_BHQK = np.where(seen_BK[:, None, None], logits_BHQK, -np.inf)
  weights = np.exp(logits_BHQK - logits_BHQK.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  return np.einsum("bhqk,bkhd->bqhd", weights, value)


def clocks(now: Callable[[], float] = time.time) -> Finding:
  """Compares the hosts' clocks, read at the same moment."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("clocks")
  seconds, rest = divmod(now(), 1.0)
  # Two integers: float32 has no room for a second of today.
  mine = np.array([seconds, rest * 1e6]).astype(np.int32)
  times = np.atleast_2d(multihost_utils.process_allgather(mine))
  return skew([int(s) + int(m) / 1e6 for s, m in times])


def skew(times: list[float]) -> Finding:
  """Compares times that were read at one moment, one of each process."""
  if len(times) == 1:
    return Finding(OK, "clocks", "one process")
  apart = max(times) - min(times)
  late, early = int(np.argmax(times)), int(np.argmin(times))
  level = BAD if apart > _FAR else WARN if apart > _SKEW else OK
  text = f"{apart:.2f} s between processes {early} and {late}"
  return Finding(level, "clocks", text)
