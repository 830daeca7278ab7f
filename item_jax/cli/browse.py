"""`item-jax browse` shows an export in the browser: a map, or a page to ask."""

from item_jax.cli import places
from item_jax.errors import UserError


def add(command) -> None:
  sub = command(
    "browse",
    "an export in the browser: a map by embedding-atlas, or a page to ask by"
    " title and image",
  )
  sub.add_argument(
    "export",
    type=places.COPY,
    help="for the map with the file of `export --atlas`",
  )
  sub.add_argument(
    "--query",
    dest="workdir",
    type=places.RUN,
    metavar="WORKDIR",
    help="the run that embedded it: a page that finds the nearest listings of a"
    " title, an image or both, instead of the map",
  )
  sub.add_argument(
    "--data",
    type=places.DATA,
    help="of --query: what was exported; default: the run's own",
  )
  sub.add_argument(
    "--port", type=int, default=5055, help="of 127.0.0.1, or the next free one"
  )
  sub.set_defaults(step=None)  # the export's


def run(args, rest) -> None:
  if args.workdir:
    _ask(args)
    return
  if args.data:
    raise UserError(f"--data={args.data} is of --query=WORKDIR")
  from item_jax.evaluation.atlas import serve

  serve(args.export, port=args.port)


def _ask(args) -> None:
  from item_jax.cli import programs

  programs.prepare_model()
  from item_jax.inference.query import open_query
  from item_jax.inference.query_server import open_server

  query = open_query(args.workdir, args.export, data=args.data)
  with open_server(query, port=args.port) as server:
    print(f"{server.address} (Ctrl-C ends it)", flush=True)
    server.serve_forever()
