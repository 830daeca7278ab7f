"""Names the accelerators that a step can be compiled for without one."""

import math
import re
from typing import Any, NamedTuple

from item_jax.errors import UserError

# XLA's description of a GPU that is not there, from NVIDIA's H100 datasheet
# (SXM5: 132 multiprocessors, 80 GB at 3.35 TB/s, 50 MB of L2) and the CUDA
# programming guide's table of compute capability 9.0. The version of cuDNN is
# the one that jax's plugin asks for at least.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: 80000000000
  memory_bandwidth: 3350000000000
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100"
"""


class Kind(NamedTuple):
  """A chip, by the figures of its maker."""

  memory: float  # bytes
  peak: float  # dense FLOP/s in bfloat16
  bandwidth: float  # bytes/s of its memory
  link: float  # bytes/s that it sends to others (NVLink, ICI), one way
  axes: int = 0  # of a TPU's grid; 0: a GPU
  config: str = ""  # XLA's description of a GPU


KINDS = {
  "h100": Kind(80e9, 989e12, 3_350e9, 450e9, config=_H100),
  "v5e": Kind(16e9, 197e12, 819e9, 200e9, 2),
  "v5p": Kind(95e9, 459e12, 2_765e9, 600e9, 3),
  "v6e": Kind(32e9, 918e12, 1_640e9, 400e9, 2),
}
_EXAMPLES = "h100, h100x8, v5e:1, v5e:2x2, v5e:16x16, v5p:2x2x1, v6e:2x4"


class Target(NamedTuple):
  """Chips of one kind."""

  name: str
  kind: Kind
  grid: tuple[int, ...]

  @property
  def chips(self) -> int:
    return math.prod(self.grid)

  @property
  def extra(self) -> str:
    """What has the compiler, as pip installs it."""
    return "item-jax[cuda13]" if self.kind.config else "item-jax[aot]"

  def devices(self) -> list[Any]:
    """Devices that programs can be compiled for, and that nothing runs on.

    Raises:
      UserError: their compiler is not installed.
    """
    from jax.experimental import topologies

    try:
      if self.kind.config:
        found = topologies.get_topology_desc(
          platform="cuda",
          # One host: slices x hosts x devices.
          topology=f"1x1x{self.chips}",
          target_config=self.kind.config,
        )
      else:
        # A host has four chips where it is not told otherwise.
        few = {"chips_per_host_bounds": [1, 1, 1]} if self.chips == 1 else {}
        grid = "x".join(map(str, self.grid))
        kind = self.name.partition(":")[0]
        found = topologies.get_topology_desc(
          f"{kind}:{grid}", platform="tpu", **few
        )
    except (RuntimeError, ValueError, OSError) as error:
      raise UserError(
        f"no compiler for {self.name} here: pip install '{self.extra}'"
        f" ({_first_line(error)})"
      ) from error
    if len(found.devices) != self.chips:
      raise UserError(
        f"{self.name} has {self.chips} chips, its compiler found"
        f" {len(found.devices)} devices"
      )
    return found.devices


def find_target(name: str) -> Target:
  """Reads names such as h100x8 and v5e:16x16.

  Raises:
    UserError: there is no such chip, or its grid has other axes.
  """
  match = re.fullmatch(r"(h100)(?:x(\d+))?|(v\w+):(\d+(?:x\d+)*)", name)
  gpu, count, tpu, grid = match.groups() if match else (None,) * 4
  kind = KINDS.get(gpu or tpu or "")
  sizes = tuple(int(n) for n in (count or grid or "1").split("x"))
  if kind is None or 0 in sizes:
    raise UserError(f"--compile {name}: expected such as {_EXAMPLES}")
  if kind.axes and sizes == (1,):
    sizes = (1,) * kind.axes
  if kind.axes and len(sizes) != kind.axes:
    raise UserError(
      f"--compile {name}: {tpu}'s chips form a grid of {kind.axes} axes, not"
      f" {len(sizes)}; expected such as {_EXAMPLES}"
    )
  return Target(name, kind, sizes)


def _first_line(error: BaseException) -> str:
  return (str(error).splitlines() or [repr(error)])[0]
