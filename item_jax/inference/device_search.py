"""Finds each query's nearest rows on devices: vectors and ids in, exactly what
`search.search` gives out.

The index is shared out over this process's devices, block by block; each
device keeps the places of highest float32 product among its own, and of these
the host chooses and scores as `search` does: the result is proven or made
again by exact sums, so no device leaves a trace in it.
"""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from item_jax.evaluation import search as search_lib
from item_jax.evaluation.ranking import Neighbours
from item_jax.evaluation.search import Asked, part_of, unit

_BLOCK = 2**17  # rows of the index on a device at a time: 0.4 GB at 768 values
# A product at precision "highest" is IEEE float32 on CPUs and GPUs. A TPU
# makes it of six of bfloat16 parts and may cut sums off instead of rounding.
_STEPS = {"tpu": 12}


def search(vectors_ND: np.ndarray, ids: Sequence[str], **options) -> Neighbours:
  """As `item_jax.evaluation.search.search` with these options, to the bit.

  A device holds at most `_BLOCK` rows of the index, and products of `tile`
  queries with `tile` rows.
  """
  steps = _STEPS.get(jax.default_backend(), 1)
  return search_lib.search(
    vectors_ND, ids, nominate=_nominate, steps=steps, **options
  )


def _nominate(
  asked: Asked, *, kept: int, tile: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Nominates by devices: all is found before the first tile is given."""
  devices = jax.local_devices()
  mesh = Mesh(np.array(devices), ("part",), axis_types=(AxisType.Auto,))
  count, size = len(asked.rows_Q), len(asked.index)
  place_QC = np.full((count, kept), -1, np.int64)
  rough_QC = np.full((count, kept), -np.inf, np.float32)
  # Blocks of one shape, with little left over in the last.
  per_device = -(-size // len(devices))
  blocks = -(-per_device // _BLOCK)
  tiles = -(-per_device // (blocks * tile))
  step = -(-per_device // (blocks * tiles))
  find = _make_find(mesh, kept)
  for first in range(0, size, len(devices) * tiles * step):
    block_PTD = _put_block(asked, mesh, first, tiles, step)
    for start in range(0, count, tile):
      part = part_of(asked, start, tile)
      # A tile of one shape too: what fills it up is thrown away.
      short = min(tile, count) - len(part.rows_Q)
      query_QD = np.pad(unit(asked, part.rows_Q), ((0, short), (0, 0)))
      own_Q = np.pad(part.own_Q, (0, short), constant_values=-1)
      found = find(
        block_PTD, query_QD, own_Q.astype(np.int32), np.int32([first, size])
      )
      rows = slice(start, start + len(part.rows_Q))
      place_QC[rows], rough_QC[rows] = _merge(
        place_QC[rows], rough_QC[rows], *map(np.asarray, found)
      )
  for start in range(0, count, tile):
    yield place_QC[start : start + tile], rough_QC[start : start + tile]


def _put_block(asked: Asked, mesh: Mesh, first: int, tiles: int, step: int):
  """Rows of the index on the devices, [devices * tiles, step, D]; zeros
  beyond its end."""
  shape = (mesh.size * tiles, step, asked.vectors_ND.shape[1])

  def rows_of(where):
    low, high, _ = where[0].indices(shape[0])
    begin = first + low * step
    unit_ID = unit(asked, asked.index[begin : first + high * step])
    filled = np.zeros(((high - low) * step, shape[2]), np.float32)
    filled[: len(unit_ID)] = unit_ID
    return filled.reshape(high - low, step, shape[2])

  return jax.make_array_from_callback(
    shape, NamedSharding(mesh, PartitionSpec("part")), rows_of
  )


@functools.lru_cache(maxsize=8)
def _make_find(mesh: Mesh, kept: int):
  """(block, queries, own places, [first, size]) -> each device's best places
  and products, [devices, Q, kept]."""

  def find(block_TID, query_QD, own_Q, first_and_size):
    first, size = first_and_size
    tiles, step, _ = block_TID.shape
    first += jax.lax.axis_index("part") * tiles * step

    def look(best, tile):
      best_QC, place_QC = best
      number, unit_ID = tile
      score_QI = jnp.matmul(
        query_QD, unit_ID.T, precision=jax.lax.Precision.HIGHEST
      )
      place_I = first + number * step + jnp.arange(step, dtype=jnp.int32)
      hidden_QI = (place_I == own_Q[:, None]) | (place_I >= size)
      score_QI = jnp.where(hidden_QI, -jnp.inf, score_QI)
      some_QC, column_QC = jax.lax.top_k(score_QI, min(kept, step))
      both = jnp.concatenate([best_QC, some_QC], axis=1)
      places = jnp.concatenate([place_QC, place_I[column_QC]], axis=1)
      best_QC, chosen_QC = jax.lax.top_k(both, kept)
      return (best_QC, jnp.take_along_axis(places, chosen_QC, axis=1)), None

    shape = (len(query_QD), kept)
    nothing = (
      jnp.full(shape, -jnp.inf, jnp.float32),
      jnp.full(shape, -1, jnp.int32),
    )
    (best_QC, place_QC), _ = jax.lax.scan(
      look, nothing, (jnp.arange(tiles, dtype=jnp.int32), block_TID)
    )
    place_QC = jnp.where(best_QC == -jnp.inf, -1, place_QC)
    return place_QC[None], best_QC[None]

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


def _merge(place_QC, rough_QC, place_PQC, rough_PQC):
  """The best of what was found before and of what the devices found."""
  count, kept = place_QC.shape
  places = np.concatenate([place_QC, *place_PQC[:, :count]], axis=1)
  roughs = np.concatenate([rough_QC, *rough_PQC[:, :count]], axis=1)
  order_QC = np.argsort(-roughs, axis=1)[:, :kept]
  return (
    np.take_along_axis(places, order_QC, axis=1),
    np.take_along_axis(roughs, order_QC, axis=1),
  )
