"""Embeds the rows of one export, and joins what was written."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from item_jax.data.unreadable import listed
from item_jax.errors import UserError, check_fraction, check_whole
from item_jax.evaluation.items import EXPORTED
from item_jax.evaluation.robustness import mix
from item_jax.files import sha256, write_checksummed
from item_jax.inference import export_shards
from item_jax.inference import space as space_lib
from item_jax.inference.embed_parts import Work, embed_parts
from item_jax.inference.embedder import MODALITIES, Embedder

logger = logging.getLogger(__name__)


def find_folders(
  out: Path,
  plans: dict[tuple[str, str], export_shards.Plan],
  *,
  one: bool,
  checked: bool,
) -> dict[tuple[str, str], Path]:
  """Returns where each plan's export goes; refuses one that holds another."""
  folders = dict.fromkeys(plans, out)
  if not one:
    folders = {key: out / "-".join(key) for key in plans}
    _check_holds_many(out)
  if checked:
    for key, folder in folders.items():  # refused now, not after the work
      export_shards.check_free(folder, plans[key])
  return folders


def _check_holds_many(out: Path) -> None:
  for name in ("meta.json", "plan.json"):
    if (out / name).exists():
      raise UserError(
        f"{out} holds an export ({name}), and several are written to folders"
        " in it: name another --out"
      )


def write_shards(
  out: Path,
  plan: export_shards.Plan,
  missing: list[int],
  work: Work,
) -> None:
  """Embeds and writes this process's part of the missing shards."""
  mine = missing[jax.process_index() :: jax.process_count()]
  parts = embed_parts(
    work,
    plan.split,
    [export_shards.rows_of(plan, number) for number in mine],
    modality=plan.modality,
    device_rows=min(work.batch_size, plan.rows),
    stage="step",
    left=functools.partial(_left, plan.drop) if plan.drop else None,
  )
  for number, part in zip(mine, parts, strict=True):
    export_shards.save(out, plan, number, *part)


def check_drop(
  embedder: Embedder, modalities: Sequence[str], rate: float, seed: int
) -> dict[str, Any] | None:
  """Returns `drop` of a plan; refuses what cannot be dropped."""
  check_fraction("drop_rate", rate)
  if not rate:
    return None
  if list(modalities) != ["both"]:
    raise UserError(
      f"drop_rate={rate} of modality={', '.join(modalities)}: a side is dropped"
      " of what shows both"
    )
  for modality in MODALITIES:
    embedder.check_modality(modality)
  seed = check_whole("seed", seed, at_least=0)
  return {"rate": float(rate), "seed": seed}


def _left(
  drop: dict[str, Any], items: Sequence[export_shards.Item]
) -> np.ndarray:
  """Draws what is left of each row, as a mixed index of `robustness` does."""
  complete_N = np.array([bool(x.has_image and x.has_title) for x in items])
  return mix([item.id for item in items], complete_N, **drop)


def finish(
  out: Path,
  plan: export_shards.Plan,
  workdir: Path,
  work: Work,
) -> None:
  """Joins the shards, and writes, last, the meta data."""

  def joins(shard: int) -> None:  # it counts as a step after the last row
    work.notify("join", plan.rows + shard)

  embedder = work.embedder
  sees = embedder.task.modality  # where the model sees one side alone
  side, lacking, unreadable = sees or plan.modality, 0, []
  for row, item in enumerate(export_shards.join(out, plan, joins)):
    if item.unreadable:
      unreadable.append({"row": row, "id": item.id})
      continue
    lacking += export_shards.sees_nothing(item, side)
  names = (*EXPORTED, *space_lib.finish(out, embedder.space))
  write_checksummed(
    out / "meta.json",
    {
      **plan.to_dict(),
      "files": {name: sha256(out / name) for name in names},
      "rows_without_this_side": lacking,
      "unreadable": unreadable,
      "workdir": workdir.name,
      **({"sees": sees} if sees else {}),
      **({"made": embedder.space.made} if embedder.space else {}),
    },
  )
  export_shards.tidy(out)
  if lacking:
    logger.info(
      f"{lacking} of {plan.rows} rows have no {side}: all of them got the null"
      " embedding"
    )
  if unreadable:
    named = [f"row {bad['row']} ({bad['id']})" for bad in unreadable]
    logger.info(
      f"{len(unreadable)} of {plan.rows} rows could not be read and got the"
      f" null embedding: {listed(named)}"
    )
  logger.info(
    f"{out}: {plan.rows} rows of {plan.dims}, {plan.modality}, step {plan.step}"
    + (f", {plan.space}" if plan.space else "")
    + (f", dropped sides: {plan.drop}" if plan.drop else "")
  )
