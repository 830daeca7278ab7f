"""The page to ask: its answers are those of the arrays, and for here only."""

import http.client
import json
import re
import shutil
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import simplejpeg
import untrained
from exports import write_export
from pages import HOSTILE, Page

import item_jax
from item_jax.__main__ import main
from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.evaluation.items import Items
from item_jax.inference import query as query_lib
from item_jax.inference.export import export
from item_jax.inference.query_server import open_server

# Finds a token in every title.
KNOWING = SimpleNamespace(tokens=lambda titles: [[7] for _ in titles], unk=1)
PAGE = Path(query_lib.__file__).with_name("query.html").read_text("utf-8")


@pytest.fixture(scope="module")
def workdir(tiny_data, tmp_path_factory):
  return untrained.write(tmp_path_factory.mktemp("query") / "run", tiny_data)


@pytest.fixture(scope="module")
def exported(workdir, tiny_data):
  out = workdir.parent / "E"
  return export(workdir, data=tiny_data, split="test", out=out)


@pytest.fixture(scope="module")
def server(workdir, tiny_data, exported):
  query = query_lib.open_query(workdir, exported, data=tiny_data)
  with open_server(query, port=0) as server:
    threading.Thread(target=server.serve_forever).start()
    yield server
    server.shutdown()


def ask(server, method, path, body=None, **headers) -> tuple[int, Any]:
  line = http.client.HTTPConnection("127.0.0.1", server.server_port, 60)
  line.request(method, path, body, headers)
  answer = line.getresponse()
  held = answer.read()
  line.close()
  kind = answer.getheader("Content-Type", "")
  return answer.status, json.loads(held) if "json" in kind else held


def nearest(server, body=b"", **asked):
  return ask(server, "POST", f"/nearest?{urlencode(asked)}", body)


@pytest.fixture(scope="module")
def listing(tiny_data):
  """One whose image and title are asked for."""
  return open_dataset(tiny_data).source("test")[3]


@pytest.fixture(scope="module")
def cosines(workdir, exported, listing):
  """By side, of each row of the export, computed from Python's own arrays."""
  model = item_jax.load(workdir, like=exported.path)
  sides = {
    "image": model.embed(images=[listing.image]),
    "title": model.embed(titles=[listing.title]),
  }
  return {
    side: np.vecdot(exported.vectors, one[0]) for side, one in sides.items()
  }


@pytest.mark.parametrize(
  ("weight", "image_weight", "title_weight"),
  [("0.25", 0.25, 0.75), ("1", 1, 0), ("0", 0, 1), (None, 0.5, 0.5)],
)
def test_the_slider_weighs_the_cosines_of_both_sides(
  server, exported, listing, cosines, weight, image_weight, title_weight
):
  given = {"image_weight": weight} if weight else {}
  status, found = nearest(server, listing.image, title=listing.title, **given)
  assert status == 200
  score_N = image_weight * cosines["image"] + title_weight * cosines["title"]
  # An untrained network's are nearly the same, some to the last bit.
  by_score = np.lexsort((exported.items.ids, -score_N))
  assert [x["row"] for x in found] == by_score[:20].tolist()
  for one in found:
    assert one["id"] == exported.items.ids[one["row"]]
    assert one["score"] == pytest.approx(score_N[one["row"]], abs=1e-5)
    for side, cosine_N in cosines.items():
      assert one["cosines"][side] == pytest.approx(
        cosine_N[one["row"]], abs=1e-5
      )


@pytest.mark.parametrize("side", ["image", "title"])
def test_of_one_side_the_slider_says_nothing(
  server, exported, listing, cosines, side
):
  given = {
    "image": (listing.image, {}),
    "title": (b"", {"title": listing.title}),
  }
  body, asked = given[side]
  answers = [
    nearest(server, body, **asked, image_weight=x)[1] for x in (0, 0.7)
  ]
  assert answers[0] == answers[1]
  order = np.lexsort((exported.items.ids, -cosines[side]))[:20]
  assert [x["row"] for x in answers[0]] == order.tolist()
  assert answers[0][0].keys() >= {"title", "category", "product", "has_image"}
  assert list(answers[0][0]["cosines"]) == [side]


def test_each_listing_has_its_image_and_title(server, tiny_data, listing):
  records = list(open_dataset(tiny_data).source("test"))
  for one in nearest(server, title=listing.title)[1][:3]:
    record = records[one["row"]]
    assert (one["id"], one["title"]) == (record.listing_id, record.title)
    status, jpeg = ask(server, "GET", f"/image/{one['row']}")
    assert status == 200
    # Small enough to be stored as they are: what is shown is the image.
    shown, stored = map(simplejpeg.decode_jpeg, (jpeg, record.image))
    assert shown.shape == stored.shape
    assert np.abs(shown.astype(int) - stored).mean() < 8


def test_equal_scores_go_by_id_and_only_the_best_are_kept():
  score_N = np.array([0.5, 0.9, 0.5, 0.5, 0.1])
  ids = ["d", "x", "b", "c", "a"]
  assert query_lib.best(score_N, ids, 3) == [1, 2, 3]
  assert query_lib.best(score_N, ids, 9) == [1, 2, 3, 0, 4]


def test_equal_vectors_score_the_same_wherever_they_stand():
  """The last bits of a matrix product differ from row to row."""
  query_D, row_D = np.random.default_rng(0).normal(size=(2, 100))
  embedded = {"": 0 * query_D, "mug": query_D}
  for count in range(2, 40):
    items = Items([*map(str, range(count, -1, -1))], [""] * (count + 1))
    vectors = np.tile(np.float32(row_D), (count + 1, 1))
    vectors[-1] *= -1  # or ids alone would rank them
    query = query_lib.Query(
      SimpleNamespace(vectors=vectors, items=items),
      SimpleNamespace(
        embed=lambda titles: np.float32([embedded[titles[0]]]),
        tokenizer=KNOWING,
      ),
      dataset=None,
      shown=[("", False)] * (count + 1),
    )
    found = query.find(title="mug", k=count + 1)
    found = [one for one in found if one["id"] != "0"]
    assert len({one["score"] for one in found}) == 1
    assert [one["id"] for one in found] == sorted(items.ids[:-1])


@pytest.mark.parametrize(
  ("host", "origin", "status"),
  [
    ("127.0.0.1:1", None, 200),  # a forwarded port
    ("localhost", None, 200),
    ("localhost", "http://localhost", 200),
    ("shop.example", None, 403),
    ("127.0.0.1.shop.example", None, 403),
    ("", None, 403),
    ("localhost", "http://shop.example", 403),
    ("localhost", "null", 403),
  ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_this_machine_is_answered(server, host, origin, status, method):
  headers = {"Host": host} | ({"Origin": origin} if origin else {})
  path = "/about" if method == "GET" else "/nearest?title=mug"
  got, answer = ask(server, method, path, None, **headers)
  assert got == status, answer
  assert server.server_address[0] == "127.0.0.1"


def test_what_cannot_be_answered_says_why(server, listing):
  status, answer = nearest(server, b"<svg>", title="mug")
  assert status == 400
  assert re.search("image of 5 bytes: .*no JPEG, PNG or WebP", answer["error"])
  status, answer = nearest(server, listing.image[:200])
  assert (status, "the image of 200 bytes" in answer["error"]) == (400, True)
  assert nearest(server, title="  ")[0] == 400
  for weight in ("1.5", "nan", "half"):
    status, answer = nearest(server, title="mug", image_weight=weight)
    assert (status, "expected 0 to 1" in answer["error"]) == (400, True)
  for path in ("/image/999999", "/image/-1", "/../setup.py", "/x"):
    assert ask(server, "GET", path)[0] == 404
  assert ask(server, "POST", "/x", b"")[0] == 404
  with socket.create_connection(server.server_address) as line:
    line.sendall(b"GET http://[x/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert line.recv(12) == b"HTTP/1.0 400"


def test_who_does_not_wait_for_the_answer_is_no_error(
  server, capfd, monkeypatch
):
  """The page takes back what it asked when there is a newer question."""
  ended, shut = threading.Event(), server.shutdown_request
  monkeypatch.setattr(
    server, "shutdown_request", lambda sent: (shut(sent), ended.set())
  )
  line = socket.create_connection(server.server_address)
  with server.query._lock:  # no answer before the line is closed
    head = b"POST /nearest?title=mug HTTP/1.1\r\nHost: localhost"
    line.sendall(head + b"\r\nContent-Length: 0\r\n\r\n")
    line.close()
  assert ended.wait(60)
  assert capfd.readouterr().err == ""


def test_twenty_at_once_wait_for_their_turn(server):
  with open_server(server.query, port=0) as busy, ExitStack() as lines:
    for _ in range(20):
      lines.enter_context(socket.create_connection(busy.server_address, 5))


def test_a_body_that_is_too_large_is_not_read(server):
  for length, status in ((50_000_001, 413), ("many", 411), (-1, 411)):
    line = http.client.HTTPConnection("127.0.0.1", server.server_port, 60)
    line.putrequest("POST", "/nearest")
    line.putheader("Content-Length", str(length))
    line.endheaders()  # and no body: who reads it would wait
    answer = line.getresponse()
    assert answer.status == status
    assert "error" in json.loads(answer.read())
    line.close()


def test_the_page_is_one_file_that_keyboards_can_use(server):
  status, held = ask(server, "GET", "/")
  assert (status, held.decode()) == (200, PAGE)
  page = Page(PAGE)
  addresses = [x for _, x in page.tags if {"src", "href"} & x.keys()]
  assert not addresses
  for name, kind in (("title", "text"), ("image", "file"), ("weight", "range")):
    (field,) = page.all("input", name=name)
    assert field["type"] == kind
    assert not {"tabindex", "hidden"} & field.keys()
  (slider,) = page.all("input", name="weight")
  assert "disabled" in slider
  assert len(page.all("label")) == 3  # each field has its name
  assert page.all("p", role="status")
  assert not re.search("innerHTML|insertAdjacent|document.write", PAGE)
  assert "textContent" in PAGE


def test_what_a_title_holds_is_text_to_a_browser(server):
  shown = [(HOSTILE, False)] * len(server.query.shown)
  before, server.query.shown = server.query.shown, shown
  try:
    found = nearest(server, title=HOSTILE)[1]
  finally:
    server.query.shown = before
  assert found[0]["title"] == HOSTILE
  line = http.client.HTTPConnection("127.0.0.1", server.server_port, 60)
  line.request("POST", "/nearest?title=mug", b"")
  headers = line.getresponse().headers
  assert headers["Content-Type"] == "application/json"
  assert headers["X-Content-Type-Options"] == "nosniff"
  assert headers["Content-Security-Policy"].startswith("default-src 'none'")
  line.close()


def test_a_taken_port_is_passed_over(server):
  with open_server(server.query, port=server.server_port) as other:
    assert other.server_port > server.server_port
  with pytest.raises(UserError, match="port 70000: expected 0 to 65,535"):
    open_server(server.query, port=70_000)


def test_a_model_says_which_side_it_does_not_see(tiny_data, tmp_path, listing):
  workdir = untrained.write(tmp_path / "run", tiny_data, "roberta")
  made = export(workdir, data=tiny_data, split="test", out=tmp_path / "E")
  query = query_lib.open_query(workdir, made, data=tiny_data)
  assert query.find(title="mug")
  with pytest.raises(UserError, match="'roberta' does not see images"):
    query.find(listing.image)


def test_a_side_that_ranks_nothing_is_told():
  """A title beside images whose values are not the title's."""
  sides = {"title": [0, 0, 1, 0], "none": [0, 0, 0, 1]}
  stub: Any = SimpleNamespace(
    embed=lambda titles: np.float32([sides["title" if titles[0] else "none"]]),
    tokenizer=KNOWING,
  )
  vectors = np.float32([[1, 0, 0, 0], [0, 1, 0, 0], [0.6, 0.8, 0, 0]])
  items = Items([*"abc"], [*"112"])
  made: Any = SimpleNamespace(vectors=vectors, items=items, path="E")
  query = query_lib.Query(made, stub, stub, [("", True)] * 3)
  with pytest.raises(UserError, match=r"listings of E have the score 0\.000"):
    query.find(title="mug")
  vectors[1, 2] = 0.1
  assert query.find(title="mug")[0]["id"] == "b"


def test_an_export_of_something_else_is_refused(
  workdir, tiny_data, exported, tmp_path, capsys
):
  rows = [{"id": x} for x in exported.items.ids]
  other = write_export(tmp_path / "E", exported.vectors, rows, split="test")
  for path in (other, tmp_path / "none"):
    flags = [f"--query={workdir}", f"--data={tiny_data}"]
    assert main(["browse", str(path), *flags]) == 2
  assert "no export of a run" in capsys.readouterr().err
  assert main(["browse", str(exported.path), f"--data={tiny_data}"]) == 2
  assert "--query=WORKDIR" in capsys.readouterr().err


def test_where_no_run_is_none_is_looked_for(exported, tiny_data, tmp_path):
  with pytest.raises(UserError, match=r"holds no run: .*run.json is missing"):
    query_lib.open_query(tmp_path, exported, data=tiny_data)


def test_data_that_have_moved_are_asked_for(
  exported, tiny_data, tmp_path, caplog
):
  """And what --unseen_by takes is then no longer the run."""
  data = tmp_path / "data"
  shutil.copytree(tiny_data, data)
  run = untrained.write(tmp_path / "run", data, names_data=True)
  with caplog.at_level("INFO"):
    item_jax.modality(run, split="val", bootstrap=0)
  assert "--unseen_by" not in caplog.text  # its own data
  data.rename(tmp_path / "moved")
  with pytest.raises(UserError, match="which is not here: give --data"):
    item_jax.modality(run, split="val")
  other = tmp_path / "other"
  item_jax.prepare(
    [{"id": "1", "product": "2", "title": "a mug", "category": "x"}],
    out=other,
    tokenizer=tiny_data,
  )
  with caplog.at_level("INFO"), pytest.raises(UserError):
    item_jax.modality(run, data=other, split="test")
  assert f"{other} --unseen_by=DATA_OF_THE_RUN ({data}, which" in caplog.text


def test_a_title_without_a_token_is_told_from_a_blind_model(
  workdir, exported, tiny_data
):
  query = query_lib.open_query(workdir, exported, data=tiny_data)
  # Of one that the vocabulary lacks every title would be the same [UNK].
  for title in ("\u200b", "\u5e8a", "\u5e8a \U0001f6cf"):
    with pytest.raises(UserError, match=r"the title .* has no token"):
      query.find(title=title)
  assert query.find(title="\u5e8a mug")
