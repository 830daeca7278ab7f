"""`item-jax convert` writes an export in another format."""

from item_jax.cli import places


def add(command) -> None:
  sub = command("convert", "an export as Parquet, safetensors or Lance")
  sub.add_argument("export", type=places.COPY, help="a finished export")
  sub.add_argument(
    "--format",
    choices=("parquet", "safetensors", "lance"),
    required=True,
    help="parquet: a row for each listing; lance: the same as a dataset, a"
    " folder; safetensors: one tensor, ids in its metadata",
  )
  sub.add_argument(
    "--out",
    type=places.CONVERT_OUT,
    required=True,
    help="the file (lance: folder) to write",
  )


def run(args, rest) -> None:
  from item_jax.evaluation.single_file import convert

  out = convert(args.export, format=args.format, out=args.out)
  files = [out] if out.is_file() else [x for x in out.rglob("*") if x.is_file()]
  print(f"{out}: {sum(file.stat().st_size for file in files):,} bytes")
