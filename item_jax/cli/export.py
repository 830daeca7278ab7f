"""`item-jax export` writes the embeddings of splits."""

import argparse
import sys

from item_jax.cli import places
from item_jax.cli.flags import add_checkpoint, add_overwrite, call
from item_jax.distributed import cluster
from item_jax.distributed.processes import EXIT_FAILED
from item_jax.errors import WRONG_PATHS

ALL = "all"  # splits
MODALITIES = ("both", "image", "title")  # importing the embedder takes seconds


def add(command) -> None:
  sub = command("export", "write the embeddings of splits")
  sub.add_argument(
    "--workdir", type=places.RUN, required=True, help="the run's"
  )
  sub.add_argument(
    "--data", type=places.DATA, required=True, help="from prepare"
  )
  sub.add_argument(
    "--split",
    default="test",
    help="of the data; several with commas between, or all: each in"
    " OUT/SPLIT-MODALITY",
  )
  sub.add_argument(
    "--out",
    type=places.EXPORT_OUT,
    required=True,
    help="goes on where it stopped",
  )
  sub.add_argument(
    "--modality",
    type=_modality,
    default="both",
    help="what the model is shown: both, image or title; several with commas"
    " between: each in OUT/SPLIT-MODALITY",
  )
  sub.add_argument(
    "--drop_rate",
    type=float,
    default=0.0,
    help="fraction of the complete listings that lose their image or their"
    " title, as in the mixed index of robustness",
  )
  sub.add_argument(
    "--seed", type=int, default=0, help="of --drop_rate: which lose a side"
  )
  add_checkpoint(sub)
  sub.add_argument(
    "--pool",
    help="how the network's states become one vector; the item network has cls"
    " (as trained), mean, tokens, patches and concat; auto: what finds most on"
    " validation",
  )
  sub.add_argument(
    "--whiten",
    choices=("none", "centre", "whiten", "auto"),
    default="none",
    help="of vectors, learnt from training; auto: what finds most on"
    " validation, or none",
  )
  sub.add_argument(
    "--batch_size", type=int, default=256, help="rows a device takes at a time"
  )
  sub.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    default="float32",
    help="of the computation; bfloat16 is good to about two digits",
  )
  sub.add_argument(
    "--workers", type=int, default=0, help="processes that decode"
  )
  add_overwrite(sub, "replace another export")
  sub.add_argument(
    "--atlas",
    action="store_true",
    help="write atlas.parquet too, for `item-jax browse`",
  )
  cluster.add_flags(sub)


def run(args, rest) -> int:
  # All before joining: from there on the others hear of a signal.
  from item_jax.data.records import open_dataset
  from item_jax.distributed.barrier import OtherProcessError
  from item_jax.distributed.watchdog import Watchdog
  from item_jax.inference.export import export

  dataset, split = args.data, _several(args.split)
  if split == ALL:
    dataset = open_dataset(args.data)
    split = list(dataset.sizes)
  cluster.join(args)
  try:
    with Watchdog(args.stall_seconds) as watchdog:
      made = call(
        export,
        args,
        args.workdir,
        data=dataset,
        split=split,
        modality=_several(args.modality),
        progress=watchdog,
      )
    if args.atlas:
      _write_atlas(made, dataset)
  except (*WRONG_PATHS, BrokenPipeError):
    raise
  except (OSError, OtherProcessError) as error:
    print(
      f"item-jax: stopped: {args.out}: {error}; the same command goes on",
      file=sys.stderr,
    )
    return EXIT_FAILED
  return 0


def _write_atlas(made, dataset) -> None:
  import jax

  from item_jax.evaluation.atlas import write_atlas

  if jax.process_index() == 0:
    for one in made.values() if isinstance(made, dict) else [made]:
      print(write_atlas(one, dataset))


def _several(text: str) -> str | list[str]:
  """A list where there are commas."""
  return text.split(",") if "," in text else text


def _modality(text: str) -> str:
  for name in text.split(","):
    if name not in MODALITIES:
      raise argparse.ArgumentTypeError(
        f"{name!r} is no modality: known are {', '.join(MODALITIES)}"
      )
  return text
