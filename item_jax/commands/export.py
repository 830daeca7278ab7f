"""`item-jax export`: a workdir and data in, an export folder out."""

from pathlib import Path


def add(command) -> None:
  sub = command("export", "write the embeddings of a split")
  sub.add_argument("--workdir", type=Path, required=True)
  sub.add_argument("--data", type=Path, required=True)
  sub.add_argument("--split", default="test")
  sub.add_argument("--out", type=Path, required=True)
  sub.add_argument(
    "--modality", choices=("both", "image", "title"), default="both"
  )
  sub.add_argument(
    "--step", type=int, help="checkpoint; default: the best; 0: untrained"
  )
  sub.add_argument("--batch_size", type=int, default=256)
  sub.add_argument(
    "--dtype", choices=("float32", "bfloat16"), default="float32"
  )
  sub.add_argument("--workers", type=int, default=0, help="processes")
  sub.add_argument("--overwrite", action="store_true")


def run(args, rest) -> None:
  from item_jax.evaluation.export import export

  export(
    args.workdir,
    data=args.data,
    split=args.split,
    out=args.out,
    modality=args.modality,
    step=args.step,
    batch_size=args.batch_size,
    dtype=args.dtype,
    workers=args.workers,
    overwrite=args.overwrite,
  )
