"""`item-jax convert` writes an export as one file of another format."""

from item_jax.cli import places


def add(command) -> None:
  sub = command("convert", "an export as one file: Parquet or safetensors")
  sub.add_argument("export", type=places.COPY, help="a finished export")
  sub.add_argument(
    "--format",
    choices=("parquet", "safetensors"),
    required=True,
    help="parquet: a row for each listing; safetensors: one tensor, ids in its"
    " metadata",
  )
  sub.add_argument(
    "--out", type=places.FILE_OUT, required=True, help="the file to write"
  )


def run(args, rest) -> None:
  from item_jax.evaluation.single_file import convert

  out = convert(args.export, format=args.format, out=args.out)
  print(f"{out}: {out.stat().st_size:,} bytes")
