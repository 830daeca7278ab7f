"""`item-jax convert` writes an export in another format."""

from item_jax.cli import places
from item_jax.cli.flags import add_overwrite, call
from item_jax.errors import UserError
from item_jax.object_store.uploads import Layout


class _Out(places.Out):
  def check(self, address, args) -> None:
    """Refuses a dataset of Lance, which is a folder of this machine."""
    if args.format == "lance":
      raise UserError(
        f"{address} is on an object store, where convert writes single files:"
        " write a Lance dataset to this machine, and copy the folder"
      )
    super().check(address, args)


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
    type=_Out(Layout()),
    required=True,
    help="the file (lance: folder) to write",
  )
  add_overwrite(sub, "replace a file that is there; no folder of Lance")


def run(args, rest) -> None:
  from item_jax.evaluation.single_file import convert

  out = call(convert, args, args.export)
  files = [out] if out.is_file() else [x for x in out.rglob("*") if x.is_file()]
  print(f"{out}: {sum(file.stat().st_size for file in files):,} bytes")
