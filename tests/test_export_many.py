"""Exports of several splits and modalities by one call are those of calls for
each alone, to the bit."""

import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import shell
import small_shards  # an export has several shards
import untrained
import warm

import item_jax
from item_jax.__main__ import main
from item_jax.data.records import open_dataset
from item_jax.diagnostics.verify import verify
from item_jax.errors import UserError
from item_jax.evaluation.changed import score_across
from item_jax.evaluation.items import open_export
from item_jax.inference import export as export_lib
from item_jax.inference import export_shards, fit_space
from item_jax.inference.export import export

SPLITS, MODALITIES = ["val", "test"], ["both", "image", "title"]


@pytest.fixture(scope="module")
def workdir(tiny_data, tmp_path_factory) -> Path:
  return untrained.write(tmp_path_factory.mktemp("many") / "run", tiny_data)


def files(folder: Path) -> dict[str, bytes]:
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


@pytest.fixture(scope="module")
def singly(workdir, tiny_data, tmp_path_factory) -> Path:
  """By a call for each split and modality."""
  out = tmp_path_factory.mktemp("singly")
  for split in SPLITS:
    for modality in MODALITIES:
      folder = out / f"{split}-{modality}"
      how = {"split": split, "modality": modality, "out": folder}
      export(workdir, data=tiny_data, **how)
  return out


def test_many_are_the_bytes_of_single_calls(
  workdir, tiny_data, singly, tmp_path
):
  how = {"data": tiny_data, "split": SPLITS, "modality": MODALITIES}
  found = item_jax.export(workdir, **how, out=tmp_path / "E")
  assert list(found) == [(s, m) for s in SPLITS for m in MODALITIES]
  for key, one in found.items():
    assert one.path == tmp_path / "E" / "-".join(key)
    assert (one.meta["split"], one.meta["modality"]) == key
  assert files(tmp_path / "E") == files(singly)


def test_all_are_the_splits_of_the_data(workdir, tiny_data, singly, tmp_path):
  out = tmp_path / "E"
  words = [f"--workdir={workdir}", f"--data={tiny_data}", f"--out={out}"]
  assert main(["export", *words, "--split=all", "--modality=title"]) == 0
  splits = open_dataset(tiny_data).sizes
  assert {p.name for p in out.iterdir()} == {f"{s}-title" for s in splits}
  for split in SPLITS:
    assert files(out / f"{split}-title") == files(singly / f"{split}-title")


def test_many_go_on_where_they_stopped(
  workdir, tiny_data, singly, tmp_path, monkeypatch
):
  how = {"data": tiny_data, "split": SPLITS, "modality": MODALITIES}
  how["out"] = tmp_path / "E"
  write, taken = export_shards.save, []

  def save(out, *given):
    taken.append(out.name)
    if out.name == "val-title" and taken.count("val-title") == 1:
      raise KeyboardInterrupt
    write(out, *given)

  monkeypatch.setattr(export_shards, "save", save)
  with pytest.raises(KeyboardInterrupt):
    export(workdir, **how)
  export(workdir, **how)
  # What was finished is not made again.
  at = taken.index("val-title") + 1
  assert "val-both" in taken[:at]
  assert set(taken[at:]) == {"val-title", *(f"test-{m}" for m in MODALITIES)}
  assert files(tmp_path / "E") == files(singly)


def test_a_space_is_made_once_for_all_splits_and_is_each_modalitys_own(
  workdir, tiny_data, tmp_path, monkeypatch
):
  fit, asked = fit_space.fit_space, []

  def fit_and_note(work, wanted, modality):
    asked.append(modality)
    return fit(work, wanted, modality)

  monkeypatch.setattr(fit_space, "fit_space", fit_and_note)
  how = {"data": tiny_data, "whiten": "whiten"}
  found = export(
    workdir, **how, split=SPLITS, modality=["both", "title"], out=tmp_path / "E"
  )
  assert asked == ["both", "title"]
  for split, modality in found:
    alone = tmp_path / "alone" / f"{split}-{modality}"
    export(workdir, **how, split=split, modality=modality, out=alone)
  assert files(tmp_path / "alone") == files(tmp_path / "E")
  made = {key: one.meta["made"]["sha256"] for key, one in found.items()}
  assert made["val", "both"] == made["test", "both"]
  assert made["test", "both"] != made["test", "title"]


def test_many_are_like_one(workdir, tiny_data, tmp_path):
  how = {"data": tiny_data, "split": "test"}
  one = export(workdir, **how, out=tmp_path / "one", whiten="centre")
  many = export(
    *(workdir,),
    **how,
    **{"modality": MODALITIES, "out": tmp_path / "E", "like": one.path},
  )
  system = one.meta["checkpoint"]
  assert [e.meta["checkpoint"] for e in many.values()] == [system] * 3
  both = many["test", "both"].path
  for name in ("embeddings.npy", "transform.npz"):
    assert (both / name).read_bytes() == (one.path / name).read_bytes()


def test_another_export_in_one_of_the_folders_is_refused_before_the_work(
  workdir, tiny_data, tmp_path, monkeypatch
):
  out = tmp_path / "E"
  export(workdir, data=tiny_data, split="val", out=out / "test-title")
  monkeypatch.setattr(export_lib, "_export", None)
  how = {"data": tiny_data, "split": ["test"], "modality": MODALITIES}
  with pytest.raises(UserError, match=r"test-title holds another export"):
    export(workdir, **how, out=out)


def test_one_folder_does_not_hold_one_and_many(workdir, tiny_data, tmp_path):
  how = {"data": tiny_data, "split": "val"}
  export(workdir, **how, out=tmp_path / "one")
  with pytest.raises(UserError, match=r"one holds an export \(meta\.json\)"):
    export(workdir, **how, modality=["both"], out=tmp_path / "one")
  export(workdir, **how, modality=["both"], out=tmp_path / "many")
  with pytest.raises(UserError, match="not empty and holds no export"):
    export(workdir, **how, out=tmp_path / "many")


@pytest.mark.parametrize(
  ("how", "says"),
  [
    ({"split": []}, r"split=\[\]: expected one name or more"),
    ({"split": ["val", "val"]}, r"split=\['val', 'val'\].*each once"),
    ({"split": ["val", "all"]}, "no split 'all'"),
    ({"split": "val", "modality": ["both", "sound"]}, "modality='sound'"),
  ],
)
def test_what_is_no_list_of_names_is_refused(
  how, says, workdir, tiny_data, tmp_path
):
  with pytest.raises(UserError, match=says):
    export(workdir, data=tiny_data, **how, out=tmp_path / "E")
  assert not (tmp_path / "E").exists()


def test_words_of_the_command_are_refused_as_they_came(capsys):
  words = ["export", "--workdir=w", "--data=d", "--modality=both,sound"]
  with pytest.raises(SystemExit):
    main([*words, "--out=E"])
  assert "'sound' is no modality: known are both" in capsys.readouterr().err


def test_several_are_not_written_to_a_store(capsys):
  words = ["export", "--workdir=w", "--data=d", "--out=gs://bucket/x"]
  for flag in ("--split=all", "--split=a,b", "--modality=both,image"):
    assert main([*words, flag]) == 2
    assert "takes one split and modality" in capsys.readouterr().err


def test_a_killed_command_goes_on(workdir, tiny_data, singly, tmp_path):
  words = ["export", f"--workdir={workdir}", f"--data={tiny_data}"]
  words += ["--split=val,test", "--modality=both,image,title"]
  words.append(f"--out={tmp_path / 'E'}")
  shutil.copytree(singly / "val-both", tmp_path / "E" / "val-both")
  for killed_at, code in (("00000.json", -9), ("meta.json", -9), ("", 0)):
    command = [sys.executable, small_shards.__file__, *words]
    environment = shell.environment() | {"KILLED_AT": killed_at}
    done = warm.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    written = files(tmp_path / "E")
    assert ("val-image/meta.json" in written) == (code == 0)
  assert written == files(singly)


@pytest.fixture
def one(workdir, tiny_data, tmp_path):
  def write(name, **how):
    how = {"split": "test", **how}
    return export(workdir, data=tiny_data, out=tmp_path / name, **how)

  return write


def shown(made) -> np.ndarray:
  """What is left of each listing by items.csv: numbers of `MODALITIES`."""
  frame = made.to_frame()
  image, title = frame.has_image == 1, frame.has_title == 1
  return np.select([image & title, image, title], [0, 1, 2], -1)


def test_a_row_without_a_side_is_that_of_the_other_alone(one, singly):
  made = one("E", drop_rate=0.6, seed=3)
  left = shown(made)
  whole = shown(open_export(singly / "test-both"))
  lost = left != whole
  assert whole[lost].tolist() == [0] * lost.sum()
  assert set(left[lost]) == {1, 2}
  expected = np.choose(
    np.where(lost, left, 0)[:, None],
    [open_export(singly / f"test-{name}").vectors for name in MODALITIES],
  )
  np.testing.assert_array_equal(np.asarray(made.vectors), expected)


def test_who_loses_a_side_at_one_rate_loses_it_at_any_higher(one):
  rates = (0, 0.3, 0.7)
  left = [
    shown(one(f"E{rate}", split="train", drop_rate=rate)) for rate in rates
  ]
  for few, more in itertools.pairwise(left):
    lost = few != left[0]
    assert (few[lost] == more[lost]).all()
    assert (few != more).any()


def test_it_is_the_mixed_index_of_robustness(one, workdir, tiny_data, singly):
  mixed = one("E", drop_rate=0.5)
  how = {"data": tiny_data, "parts": ["roles"], "bootstrap": 0}
  found = item_jax.robustness(workdir, **how)
  for role in ("full", "image", "title"):
    name = role.replace("full", "both")
    scores = score_across(singly / f"test-{name}", mixed, bootstrap=0)
    (line,) = (
      x for x in found.roles if x["query"] == role and x["index"] == "mixed"
    )
    for measure in ("recall@10", "map@10"):
      assert line[measure]["value"] == scores.summary[measure]


def test_an_export_says_what_was_dropped(one, singly, workdir, tiny_data):
  made = one("E", drop_rate=0.5)
  assert made.meta["drop"] == {"rate": 0.5, "seed": 0}
  assert str(made).endswith("both, 50% of the complete lack a side")
  with pytest.raises(UserError, match="holds another export"):
    one("E", drop_rate=0.4)
  assert files(one("none", drop_rate=0).path) == files(singly / "test-both")
  words = [f"--workdir={workdir}", f"--data={tiny_data}", "--split=test"]
  out = made.path.with_name("said")
  assert main(["export", *words, f"--out={out}", "--drop_rate=.5"]) == 0
  assert files(out) == files(made.path)


@pytest.mark.parametrize(
  ("how", "says"),
  [
    ({"drop_rate": 1.5}, "drop_rate=1.5: expected a fraction from 0 to 1"),
    (
      {"drop_rate": 0.5, "modality": ["both", "image"]},
      "drop_rate=0.5 of modality=both, image: a side is dropped of what shows",
    ),
  ],
)
def test_what_cannot_be_dropped_is_refused(one, how, says):
  with pytest.raises(UserError, match=says):
    one("E", **how)


def test_a_folder_of_exports_names_them(singly):
  with pytest.raises(UserError, match=r"is no export, and holds 6: .*val-both"):
    open_export(singly)


def test_a_folder_of_exports_is_verified_export_by_export(singly, tmp_path):
  many = tmp_path / "many"
  shutil.copytree(singly, many)
  states = [found.state for found in verify(many)]
  assert states == ["whole"] * 6
  (many / "val-both" / "embeddings.npy").write_bytes(b"")
  (many / "val-image" / "meta.json").unlink()
  bad = [found for found in verify(many) if found.state != "whole"]
  assert [found.state for found in bad] == ["damaged", "unfinished"]
  assert "val-both" in bad[0].text


def test_beside_exports_what_else_is_ours_is_verified_too(
  singly, workdir, tmp_path
):
  many = tmp_path / "many"
  shutil.copytree(singly, many)
  shutil.copytree(workdir, many / "run")
  (many / "run" / "run.json").write_text("{}")
  (many / "notes").mkdir()
  (many / "notes" / "meta.json").write_text("{}")  # somebody's, not ours
  bad = [found.text for found in verify(many) if found.state != "whole"]
  assert bad
  assert all("run.json" in text for text in bad)
  for folder in set(many.iterdir()) - {many / "notes"}:
    shutil.rmtree(folder)
  with pytest.raises(UserError, match="no data set, run"):
    list(verify(many))
