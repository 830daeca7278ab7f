"""Lays arrays out over a mesh of devices."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# Below this many elements an array is copied to every device: splitting it
# would cost a message and save nothing.
_SPLIT_FROM = 2**14


def make_mesh(data: int, fsdp: int, *, devices=None) -> Mesh:
  """Returns devices (all by default) as a data x fsdp grid.

  They are ordered by process, so that the rows of a batch that one host holds
  are contiguous.
  """
  devices = sorted(
    devices or jax.devices(), key=lambda d: (d.process_index, d.id)
  )
  return Mesh(
    np.array(devices).reshape(data, fsdp),
    ("data", "fsdp"),
    axis_types=(AxisType.Auto, AxisType.Auto),
  )


def over_batch(mesh: Mesh) -> NamedSharding:
  """Splits axis 0 over all devices."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
  """Copies an array to every device."""
  return NamedSharding(mesh, PartitionSpec())


def for_state(mesh: Mesh, shapes: Any) -> Any:
  """Returns a sharding for each leaf of a tree.

  Large arrays are split over `fsdp` along their longest divisible axis.

  Args:
    shapes: any tree of arrays or `jax.ShapeDtypeStruct`. Parameters and the
      optimizer's averages have the same shapes, so they are split alike.
  """
  fsdp = mesh.shape["fsdp"]

  def place(leaf):
    axis = split_axis(leaf.shape, fsdp)
    if axis is None:
      return replicated(mesh)
    spec: list[str | None] = [None] * len(leaf.shape)
    spec[axis] = "fsdp"
    return NamedSharding(mesh, PartitionSpec(*spec))

  return jax.tree.map(place, shapes)


def make_gather(mesh: Mesh, parts: Any) -> Callable | None:
  """Returns a function that makes split parameters whole where they are used.

  None where none is split. Their gradients are split again. By itself the
  compiler would rather move activations, which grow with the batch.

  Args:
    parts: their shardings, as of `for_state`.
  """
  if mesh.shape["fsdp"] == 1:
    return None

  def gather(params):
    return jax.lax.with_sharding_constraint(params, replicated(mesh))

  gathered = jax.custom_vjp(gather)
  gathered.defvjp(
    lambda params: (gather(params), None),
    lambda _, cotangent: (jax.lax.with_sharding_constraint(cotangent, parts),),
  )
  return gathered


def split_axis(shape: tuple[int, ...], fsdp: int) -> int | None:
  """The axis along which an array is split over `fsdp` devices, if any."""
  axes = [i for i, n in enumerate(shape) if n % fsdp == 0]
  if fsdp == 1 or not axes or math.prod(shape) < _SPLIT_FROM:
    return None
  return max(axes, key=lambda i: shape[i])


def host_rows(mesh: Mesh, batch_size: int) -> slice:
  """The contiguous rows of a global batch that this process reads."""
  spans = over_batch(mesh).addressable_devices_indices_map((batch_size,))
  rows = [index[0].indices(batch_size) for index in spans.values() if index]
  return slice(min(r[0] for r in rows), max(r[1] for r in rows))


def to_devices(mesh: Mesh, batch_size: int, local: Any) -> Any:
  """Assembles global arrays of `batch_size` rows from each host's rows.

  Args:
    local: a tree of arrays, whose axis 0 are the rows of `host_rows`.
  """
  sharding = over_batch(mesh)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(
      sharding, x, (batch_size, *x.shape[1:])
    ),
    local,
  )
