"""`item-jax index` makes an index of another search engine."""

import argparse

from item_jax.cli import places
from item_jax.cli.flags import add_data, add_overwrite, call
from item_jax.object_store.uploads import Layout

_FILES = ("ids.csv", "*.faiss", "*.usearch", "*.hnswlib")
_DTYPES = ("float32", "float16", "int8")


def add(command) -> None:
  sub = command(
    "index", "an index of faiss, usearch or hnswlib, and what it finds"
  )
  sub.add_argument(
    "export",
    type=places.SOURCE,
    help="an export, FILE.npy:ITEMS.csv, or thumbnail (with --data)",
  )
  sub.add_argument(
    "--engine",
    choices=("faiss", "usearch", "hnswlib"),
    required=True,
    help="faiss looks at every row, the others at a graph",
  )
  sub.add_argument(
    "--out",
    type=places.Out(Layout("index.json", _FILES, sign=b'"engine":')),
    required=True,
    help="the folder to write",
  )
  sub.add_argument(
    "--dtype",
    type=_dtypes,
    default="float32",
    help="of the index's values: float32, float16 or int8; several with commas"
    " between",
  )
  sub.add_argument(
    "--queries", type=int, default=1_000, help="rows that it is measured with"
  )
  add_data(sub)
  add_overwrite(sub, "replace another index")


def run(args, rest) -> None:
  from item_jax.evaluation.index import build_index

  print(call(build_index, args, args.export, dtypes=args.dtype))


def _dtypes(text: str) -> tuple[str, ...]:
  names = tuple(text.split(","))
  for name in names:
    if name not in _DTYPES:
      raise argparse.ArgumentTypeError(
        f"{name!r}: known are {', '.join(_DTYPES)}"
      )
  return names
