"""`item-jax synthesize` writes a synthetic catalogue with images."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from item_jax.cli import places
from item_jax.cli.flags import add_overwrite, call
from item_jax.object_store.uploads import Layout

_OUT = places.Out(
  Layout(
    "products.csv",
    ("variants.csv", "attributes.csv", "images/*.jpg"),
    sign=b"\n000000-0,P000000,images/000000-0.jpg,",
  )
)


def add(command: Callable[[str, str], ArgumentParser]) -> None:
  """Adds the command's flags."""
  sub = command("synthesize", "write a synthetic catalogue with images")
  sub.add_argument("out", type=_OUT, help="the folder to write")
  sub.add_argument("--products", type=int, default=2_000, help="how many")
  sub.add_argument("--seed", type=int, default=0, help="of what is drawn")
  sub.add_argument("--image_size", type=int, default=160, help="pixels")
  sub.add_argument("--workers", type=int, help="processes; default: cores")
  add_overwrite(sub, "replace an earlier synthetic catalogue")


def run(args: Namespace, rest: list[str]) -> None:
  """Runs the command."""
  del rest
  from item_jax.synthetic.synthesize import synthesize

  call(synthesize, args, args.out)
