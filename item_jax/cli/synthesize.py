"""`item-jax synthesize`: flags in, an invented catalogue out."""

from item_jax.cli import places


def add(command) -> None:
  sub = command("synthesize", "invent a catalogue with photos")
  sub.add_argument("out", type=places.SHOP_OUT, help="the folder to be")
  sub.add_argument("--products", type=int, default=2_000, help="how many")
  sub.add_argument("--seed", type=int, default=0, help="of what is drawn")
  sub.add_argument("--image_size", type=int, default=160, help="pixels")
  sub.add_argument("--workers", type=int, help="processes; default: cores")
  sub.add_argument(
    "--overwrite", action="store_true", help="replace what was invented there"
  )


def run(args, rest) -> None:
  from item_jax.synthetic.synthesize import synthesize

  synthesize(
    args.out,
    products=args.products,
    seed=args.seed,
    image_size=args.image_size,
    overwrite=args.overwrite,
    workers=args.workers,
  )
