"""`item-jax browse` shows an export on a map, in the browser."""

from item_jax.cli import places


def add(command) -> None:
  sub = command(
    "browse", "an export on a map in the browser, by embedding-atlas"
  )
  sub.add_argument(
    "export", type=places.COPY, help="with the file of `export --atlas`"
  )
  sub.add_argument(
    "--port", type=int, default=5055, help="of 127.0.0.1, or the next free one"
  )


def run(args, rest) -> None:
  from item_jax.evaluation.atlas import serve

  serve(args.export, port=args.port)
