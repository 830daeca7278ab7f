"""Listings for the page of a report, and the page as a browser reads it."""

import json
from html.parser import HTMLParser

import numpy as np
import simplejpeg

from item_jax.data import records
from item_jax.files import write_manifest
from item_jax.ingest.writer import DatasetWriter

HOSTILE = "<script>alert('&amp;')</script> \"mug\" </style>"
COUNT = 30  # ten products of three listings, three categories


def listings():
  random = np.random.default_rng(1)
  for row in range(COUNT):
    size = (120, 60 + row, 3)
    pixels = random.integers(0, 255, size, np.uint8)
    yield records.Record(
      f"l{row:02d}",
      f"p{row // 3}",
      {0: HOSTILE, 1: ""}.get(row, f"title {row}"),
      {0: "home > <b>mugs</b>", 1: "hats", 2: ""}[row // 3 % 3],
      b"" if row == 1 else simplejpeg.encode_jpeg(pixels),
    )


def store(folder, rows):
  folder.mkdir(exist_ok=True)
  writer = DatasetWriter(folder)
  for row in rows:
    writer.add("test", row)
  (folder / records.CATALOGUE).write_text(
    json.dumps({"format": records.FORMAT, "fingerprint": writer.close()})
  )
  write_manifest(folder)
  return folder


def named(rows):
  return [
    {
      "id": row.listing_id,
      "product": row.product_id,
      "category": row.category,
      "title": row.title,
    }
    for row in rows
  ]


class Page(HTMLParser):
  """The page as a browser reads it: elements, and the text outside scripts."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.text, self.scripts, self._inside = [], [], [], []
    self.options = []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    self._inside.append(tag)

  def handle_endtag(self, tag):
    while self._inside and self._inside.pop() != tag:
      pass

  def handle_data(self, data):
    inside = self._inside[-1] if self._inside else ""
    if inside == "script":
      self.scripts.append(data)
    elif inside != "style":
      self.text.append(data)
    if inside == "option":
      self.options.append(data)

  def all(self, tag, **wanted):
    return [
      attrs
      for name, attrs in self.tags
      if name == tag and wanted.items() <= attrs.items()
    ]
