"""Tests that images fetched by img2dataset are found by their address."""

import csv
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from item_jax.errors import UserError
from item_jax.ingest.images import addresses, img2dataset

ADDRESSES = ["https://x/a,b.jpg?v=1", "https://x/gone.jpg", "https://x/ü.jpg"]


def fetch(folder, shard=0, addresses=ADDRESSES, suffix="jpg"):
  """Writes a shard as img2dataset does; addresses with "gone" fail."""
  name = f"{shard:05d}"
  (folder / name).mkdir(parents=True)
  rows = []
  for place, address in enumerate(addresses):
    failed = "gone" in address
    note = {
      "url": address,
      "key": f"{shard * 10_000 + place:09d}",
      "status": "failed_to_download" if failed else "success",
      "error_message": "HTTP Error 404: Not Found" if failed else None,
      "width": None if failed else 8,
    }
    rows.append(note)
    if not failed:
      start = folder / name / note["key"]
      start.with_suffix(f".{suffix}").write_bytes(b"image")
      start.with_suffix(".json").write_text(json.dumps(note, indent=4))
  pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
  (folder / f"{name}_stats.json").write_text("{}")


def test_addresses_are_found_in_all_shards(tmp_path):
  fetch(tmp_path)
  fetch(tmp_path, 1, ["https://x/c", "https://x/gone.jpg"], suffix="webp")
  index = img2dataset.open_index(tmp_path)
  assert len(index) == 3
  assert index.find(ADDRESSES[0]) == ("00000/000000000.jpg", "")
  assert index.find(f" {ADDRESSES[2]}\n") == ("00000/000000002.jpg", "")
  assert index.find("https://x/c") == ("00001/000010000.webp", "")
  file, reason = index.find("https://x/gone.jpg")
  assert file == ""
  assert "404" in reason
  assert index.find("https://x/never")[1].startswith("the image is an addr")


def test_notes_do_where_there_is_no_table(tmp_path):
  fetch(tmp_path)
  (tmp_path / "00000.parquet").unlink()
  (tmp_path / "00000_stats.json").unlink()
  index = img2dataset.open_index(tmp_path)
  assert len(index) == 2
  assert index.find(ADDRESSES[2]) == ("00000/000000002.jpg", "")


def test_second_try_takes_the_place_of_a_failure(tmp_path):
  fetch(tmp_path, 0, ["https://x/gone.jpg"])
  fetch(tmp_path, 1, ["https://x/b.jpg"])
  rows = pq.read_table(tmp_path / "00001.parquet").to_pylist()
  rows[0]["url"] = "https://x/gone.jpg"
  pq.write_table(pa.Table.from_pylist(rows), tmp_path / "00001.parquet")
  fetch(tmp_path, 2, ["https://x/gone.jpg"])
  index = img2dataset.open_index(tmp_path)
  assert index.find("https://x/gone.jpg") == ("00001/000010000.jpg", "")


def test_image_that_was_removed_is_not_found(tmp_path):
  fetch(tmp_path)
  (tmp_path / "00000" / "000000000.jpg").unlink()
  file, reason = img2dataset.open_index(tmp_path).find(ADDRESSES[0])
  assert file == ""
  assert reason


def test_other_folders_are_none_of_its_own(tmp_path):
  (tmp_path / "00000").mkdir()
  (tmp_path / "00000" / "a.jpg").write_bytes(b"")
  (tmp_path / "00000" / "1.json").write_text("[1]")
  (tmp_path / "2024.json").write_text("{}")
  (tmp_path / "2024").mkdir()
  pq.write_table(pa.table({"a": [1]}), tmp_path / "2024.parquet")
  pq.write_table(pa.table({"a": [1]}), tmp_path / "2025.parquet")
  assert img2dataset.open_index(tmp_path) is None


def test_packed_images_are_refused(tmp_path):
  fetch(tmp_path)
  shutil.rmtree(tmp_path / "00000")
  (tmp_path / "00000.tar").write_bytes(b"")
  with pytest.raises(UserError, match="--output_format=files"):
    img2dataset.open_index(tmp_path)


@pytest.mark.parametrize("rest", [b"", b"PAR1"])
def test_table_cut_short_is_refused(tmp_path, rest):
  fetch(tmp_path)
  (tmp_path / "00000.parquet").write_bytes(rest)
  with pytest.raises(UserError, match="broken or cut short"):
    img2dataset.open_index(tmp_path)


def test_list_of_addresses_has_each_once(tmp_path):
  path = tmp_path / "addresses.csv"
  images = [*ADDRESSES, ADDRESSES[0], "photos/a.jpg", "", "//x/d.jpg?a&amp;b"]
  images += ["https://x/d.jpg?a&b", "https://x/c d.jpg", "https://x/c%20d.jpg"]
  assert addresses.write_addresses(path, images) == 5
  with open(path, newline="", encoding="utf-8") as file:
    assert [r["url"] for r in csv.DictReader(file)] == [
      *ADDRESSES[:2],
      "https://x/%C3%BC.jpg",
      "https://x/d.jpg?a&b",
      "https://x/c%20d.jpg",
    ]
  said = addresses.explain(4, ADDRESSES[0], path)
  assert f"--url_list={path}" in said
  assert "--output_format=files" in said


@pytest.mark.parametrize(
  ("address", "names"),
  [
    (
      "https://cdn.x/files/a%20b.jpg?v=1#top",
      [
        "cdn.x/files/a b.jpg",
        "cdn.x/files/a%20b.jpg",
        "files/a b.jpg",
        "files/a%20b.jpg",
        "a b.jpg",
        "a%20b.jpg",
      ],
    ),
    ("https://x/a.jpg", ["x/a.jpg", "a.jpg"]),
    ("https://x/", []),
    ("https://x/show.php?id=7", []),
    (
      "https://x/a%2fb.jpg",
      ["x/a/b.jpg", "x/a%2fb.jpg", "a/b.jpg", "a%2fb.jpg"],
    ),
    ("https://x/../../b.jpg", ["b.jpg"]),
    (
      "https://x/%2fetc/a%00.jpg",
      ["x/%2fetc/a%00.jpg", "%2fetc/a%00.jpg", "a%00.jpg"],
    ),
    ("https://[x/a.jpg", []),
    ("https://x", []),
  ],
)
def test_names_below_a_folder_of_ones_own(address, names):
  assert addresses.list_names(address) == names


def test_names_are_no_addresses():
  assert addresses.is_web_address("HTTPS://x/a.jpg")
  assert not addresses.is_web_address("photos/http/a.jpg")
  assert not addresses.is_web_address("")


def test_files_of_ones_own_are_found_by_name(tmp_path):
  (tmp_path / "b").mkdir()
  (tmp_path / "b" / "1.jpg").write_bytes(b"")
  (tmp_path / "a 2.jpg").write_bytes(b"")
  fetched = addresses.Fetched(tmp_path)
  assert fetched.find("https://x/b/1.jpg?v=1") == ("b/1.jpg", "")
  assert fetched.find("https://x/b/1.jpg?v=2") == ("b/1.jpg", "")
  assert fetched.find("https://x/c/a%202.jpg") == ("a 2.jpg", "")
  assert fetched.find("https://x/c/1.jpg")[0] == ""
  file, reason = fetched.find("https://x/d/a%202.jpg")
  assert file == ""
  assert reason.startswith("two addresses for one image file: ")
  assert fetched.find("https://x/" + "a" * 5000 + ".jpg")[0] == ""


def test_output_of_img2dataset_is_searched_only_by_its_index(tmp_path):
  fetch(tmp_path, 0, ["https://x/gone.jpg"])
  (tmp_path / "gone.jpg").write_bytes(b"")
  assert addresses.Fetched(tmp_path).find("https://x/gone.jpg")[0] == ""
