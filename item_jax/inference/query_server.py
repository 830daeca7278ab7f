"""Serves a page to ask an export by title and image, on this machine only."""

import errno
import json
import logging
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from item_jax.data.images import MAX_BYTES
from item_jax.errors import UserError
from item_jax.inference.query import Query

logger = logging.getLogger(__name__)

_PAGE = Path(__file__).with_name("query.html")
_PORTS = 20  # tried, of which one is free
# A page elsewhere may send its visitor's browser here under a name of its own.
_LOCAL = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")
_HEADERS = {
  "Content-Security-Policy": (
    "default-src 'none'; img-src 'self' blob:; connect-src 'self'; style-src"
    " 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action"
    " 'none'; frame-ancestors 'none'"
  ),
  "X-Content-Type-Options": "nosniff",
  "Cache-Control": "no-store",
}


class QueryServer(ThreadingHTTPServer):
  """A server at 127.0.0.1; `serve_forever` answers until `shutdown`."""

  daemon_threads = True
  request_queue_size = 128  # of 5 the next at the same time would be reset

  def __init__(self, query: Query, port: int):
    self.query = query
    super().__init__(("127.0.0.1", port), _Handler)

  @property
  def address(self) -> str:
    return f"http://127.0.0.1:{self.server_port}"

  def handle_error(self, request, client_address) -> None:
    """Prints what failed, but not that nobody waits for the answer any more."""
    # The page takes a question back as soon as there is a newer one.
    if not isinstance(sys.exc_info()[1], ConnectionError):
      super().handle_error(request, client_address)


def open_server(query: Query, *, port: int) -> QueryServer:
  """Opens a server at a port, or the next free one.

  Raises:
    UserError: there is no such port, or none is free.
  """
  if not 0 <= port < 2**16:
    raise UserError(f"port {port}: expected 0 to 65,535")
  for one in range(port, min(port + _PORTS, 2**16)):
    try:
      return QueryServer(query, one)
    except OSError as error:
      if error.errno != errno.EADDRINUSE:
        raise
  raise UserError(f"none of {_PORTS} ports from {port} on is free")


class _RefusedError(Exception):
  """A request that is not answered: the status, and why."""

  def __init__(self, status: int, why: str):
    super().__init__(why)
    self.status = status


class _Handler(BaseHTTPRequestHandler):
  """Answers `/`, `/about`, `/image/ROW`, and an image sent to `/nearest`."""

  server: QueryServer  # pyright: ignore[reportIncompatibleVariableOverride]
  timeout = 60  # seconds that a sender may be silent

  def do_GET(self) -> None:
    self._answer(self._get)

  def do_POST(self) -> None:
    self._answer(self._post)

  def _answer(self, work) -> None:
    try:
      self._check_local()
      kind, body = work(self._url())
    except _RefusedError as refused:
      self._send(refused.status, *_json({"error": str(refused)}))
    except UserError as error:
      self._send(400, *_json({"error": str(error)}))
    else:
      self._send(200, kind, body)

  def _check_local(self) -> None:
    host = self.headers.get("Host", "")
    origin = self.headers.get("Origin", f"http://{host}")
    if not _LOCAL.fullmatch(host) or origin != f"http://{host}":
      raise _RefusedError(403, f"host {host!r}, origin {origin!r}: not of here")

  def _url(self) -> SplitResult:
    try:
      return urlsplit(self.path)
    except ValueError as error:
      raise _RefusedError(400, f"{self.path}: {error}") from error

  def _get(self, url) -> tuple[str, bytes]:
    if url.path == "/":
      return "text/html; charset=utf-8", _PAGE.read_bytes()
    if url.path == "/about":
      return _json(self._about())
    row = re.fullmatch(r"/image/(\d{1,12})", url.path)
    jpeg = self.server.query.read_image(int(row[1])) if row else None
    if jpeg is None:
      raise _RefusedError(404, f"{url.path}: there is nothing")
    return "image/jpeg", jpeg

  def _about(self) -> dict[str, Any]:
    export = self.server.query.export
    return {
      "export": export.path.absolute().name,
      "listings": len(export),
      **{name: export.meta.get(name) for name in ("split", "modality", "step")},
      "most_bytes": MAX_BYTES,
    }

  def _post(self, url) -> tuple[str, bytes]:
    if url.path != "/nearest":
      raise _RefusedError(404, f"{url.path}: there is nothing")
    image = self._body()
    asked = {name: held[-1] for name, held in parse_qs(url.query).items()}
    text = asked.get("image_weight", "0.5")
    try:
      weight = float(text)
    except ValueError:
      raise UserError(f"image_weight={text!r}: expected 0 to 1") from None
    title = asked.get("title", "")
    return _json(self.server.query.find(image, title, image_weight=weight))

  def _body(self) -> bytes:
    length = self.headers.get("Content-Length", "")
    if not re.fullmatch(r"\d{1,18}", length):
      raise _RefusedError(411, f"Content-Length {length!r}: expected bytes")
    if int(length) > MAX_BYTES:
      raise _RefusedError(
        413, f"an image of {int(length):,} bytes; {MAX_BYTES:,} at most"
      )
    return self.rfile.read(int(length))

  def _send(self, status: int, kind: str, body: bytes) -> None:
    self.send_response(status)
    headers = {"Content-Type": kind, "Content-Length": str(len(body))}
    for name, value in (headers | _HEADERS).items():
      self.send_header(name, value)
    self.end_headers()
    self.wfile.write(body)

  def log_message(self, format: str, *args: Any) -> None:
    logger.debug(format, *args)


def _json(value: Any) -> tuple[str, bytes]:
  return "application/json", json.dumps(value).encode()
