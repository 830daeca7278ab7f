"""Searches nearest neighbours on devices, with exactly the result of numpy's.

The index is divided among this process's devices, block by block; each device
keeps the positions of highest float32 product in its part, and from these the
host chooses and scores as `evaluation.search` does: the result is proven or
computed again by exact sums, so that it does not depend on the device.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from item_jax.evaluation import search as search_lib
from item_jax.evaluation.ranking import Neighbours
from item_jax.evaluation.search import Problem, part_of, unit

_BLOCK = 2**17  # rows of the index on a device at a time: 0.4 GB at 768 values
# A product at precision "highest" is IEEE float32 on CPUs and GPUs. A TPU
# makes it of six of bfloat16 parts and may cut sums off instead of rounding.
_STEPS = {"tpu": 12}


def search(
  vectors_ND: np.ndarray, ids: Sequence[str], *, tile: int = 2048, **options
) -> Neighbours:
  """Returns what `item_jax.evaluation.search.search` does, to the bit.

  A device holds at most `_BLOCK` rows of the index, and products of `tile`
  queries with `tile` rows.
  """
  steps = _STEPS.get(jax.default_backend(), 1)
  return search_lib.search(
    vectors_ND,
    ids,
    tile=tile,
    candidates=_candidates,
    steps=steps,
    **options,
  )


def _candidates(
  problem: Problem, *, kept: int, tile: int
) -> Callable[[slice], tuple[np.ndarray, np.ndarray]]:
  """Finds candidates on devices, all of them before the first is returned."""
  devices = jax.local_devices()
  mesh = Mesh(np.array(devices), ("part",), axis_types=(AxisType.Auto,))
  count, size = len(problem.rows_Q), len(problem.index_I)
  position_QC = np.full((count, kept), -1, np.int64)
  rough_QC = np.full((count, kept), -np.inf, np.float32)
  # Blocks of one shape, with little left over in the last.
  per_device = -(-size // len(devices))
  blocks = -(-per_device // _BLOCK)
  tiles = -(-per_device // (blocks * tile))
  step = -(-per_device // (blocks * tiles))
  find = _make_find(mesh, kept)
  for first in range(0, size, len(devices) * tiles * step):
    block_PTD = _put_block(problem, mesh, first, tiles, step)
    for start in range(0, count, tile):
      part = part_of(problem, slice(start, start + tile))
      # A tile of one shape too: what fills it up is thrown away.
      short = min(tile, count) - len(part.rows_Q)
      query_QD = np.pad(unit(problem, part.rows_Q), ((0, short), (0, 0)))
      own_Q = np.pad(part.own_Q, (0, short), constant_values=-1)
      found = find(
        block_PTD,
        query_QD,
        own_Q.astype(np.int32),
        np.array([first, size], np.int32),
      )
      rows = slice(start, start + len(part.rows_Q))
      position_QC[rows], rough_QC[rows] = _merge(
        position_QC[rows], rough_QC[rows], *map(np.asarray, found)
      )

  def find(rows: slice) -> tuple[np.ndarray, np.ndarray]:
    return position_QC[rows], rough_QC[rows]

  return find


def _put_block(problem: Problem, mesh: Mesh, first: int, tiles: int, step: int):
  """Rows of the index on the devices, [devices * tiles, step, D]; zeros
  beyond its end."""
  shape = (mesh.size * tiles, step, problem.vectors_ND.shape[1])

  def rows_of(where):
    low, high, _ = where[0].indices(shape[0])
    begin = first + low * step
    unit_ID = unit(problem, problem.index_I[begin : first + high * step])
    filled = np.zeros(((high - low) * step, shape[2]), np.float32)
    filled[: len(unit_ID)] = unit_ID
    return filled.reshape(high - low, step, shape[2])

  return jax.make_array_from_callback(
    shape, NamedSharding(mesh, PartitionSpec("part")), rows_of
  )


@functools.lru_cache(maxsize=8)
def _make_find(mesh: Mesh, kept: int):
  """(block, queries, own positions, [first, size]) -> the best positions and
  products of each device, [devices, Q, kept]."""

  def find(block_TID, query_QD, own_Q, first_and_size):
    first, size = first_and_size
    tiles, step, _ = block_TID.shape
    first += jax.lax.axis_index("part") * tiles * step

    def scan_tile(best, tile):
      best_QC, position_QC = best
      number, unit_ID = tile
      score_QI = jnp.matmul(
        query_QD, unit_ID.T, precision=jax.lax.Precision.HIGHEST
      )
      position_I = first + number * step + jnp.arange(step, dtype=jnp.int32)
      excluded_QI = (position_I == own_Q[:, None]) | (position_I >= size)
      score_QI = jnp.where(excluded_QI, -jnp.inf, score_QI)
      some_QC, column_QC = jax.lax.top_k(score_QI, min(kept, step))
      both = jnp.concatenate([best_QC, some_QC], axis=1)
      positions = jnp.concatenate([position_QC, position_I[column_QC]], axis=1)
      best_QC, chosen_QC = jax.lax.top_k(both, kept)
      return (best_QC, jnp.take_along_axis(positions, chosen_QC, axis=1)), None

    shape = (len(query_QD), kept)
    empty = (
      jnp.full(shape, -jnp.inf, jnp.float32),
      jnp.full(shape, -1, jnp.int32),
    )
    (best_QC, position_QC), _ = jax.lax.scan(
      scan_tile, empty, (jnp.arange(tiles, dtype=jnp.int32), block_TID)
    )
    position_QC = jnp.where(best_QC == -jnp.inf, -1, position_QC)
    return position_QC[None], best_QC[None]

  split, whole = PartitionSpec("part"), PartitionSpec()
  return jax.jit(
    jax.shard_map(
      find,
      mesh=mesh,
      in_specs=(split, whole, whole, whole),
      out_specs=(split, split),
      check_vma=False,
    )
  )


def _merge(position_QC, rough_QC, position_PQC, rough_PQC):
  """The best of what was found before and of what the devices found."""
  count, kept = position_QC.shape
  positions = np.concatenate([position_QC, *position_PQC[:, :count]], axis=1)
  roughs = np.concatenate([rough_QC, *rough_PQC[:, :count]], axis=1)
  order_QC = np.argsort(-roughs, axis=1)[:, :kept]
  return (
    np.take_along_axis(positions, order_QC, axis=1),
    np.take_along_axis(roughs, order_QC, axis=1),
  )
