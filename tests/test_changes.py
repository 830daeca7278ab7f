"""Changed images and titles: what they keep, and what decides them."""

import cv2
import numpy as np
import pytest
import simplejpeg

from item_jax.data.images import BadImage, encode
from item_jax.inference.image_changes import IMAGE_CHANGES, change_image
from item_jax.inference.title_changes import TITLE_CHANGES, change_title

TITLE = "red enamel mug with a handle for 350 ml of coffee"
WORDS = TITLE.split()


@pytest.fixture(scope="module")
def jpeg() -> bytes:
  """A blue square with a red corner on white, 96 by 64."""
  pixels = np.full((64, 96, 3), 255, np.uint8)
  pixels[16:48, 24:72] = (30, 60, 200)
  pixels[16:32, 24:48] = (200, 30, 30)
  return encode(pixels)


def pixels_of(image: bytes) -> np.ndarray:
  return simplejpeg.decode_jpeg(image).astype(int)


@pytest.mark.parametrize("name", IMAGE_CHANGES)
def test_an_image_is_changed_by_its_seed_and_id_alone(name, jpeg):
  assert change_image(jpeg, name, 0, listing="a") is jpeg
  assert change_image(b"", name, 3, listing="a") == b""
  made = [change_image(jpeg, name, n, listing="a") for n in range(6)]
  assert len(set(made)) == 6  # each strength is another one
  change_image(jpeg, name, 2, listing="b")
  assert change_image(jpeg, name, 3, listing="a") == made[3]
  drawn = {
    change_image(jpeg, name, 3, listing=listing, seed=seed)
    for listing in "abcdefgh"
    for seed in (0, 1)
  }
  assert (len(drawn) > 1) == (name not in ("blur", "jpeg"))


@pytest.mark.parametrize("name", TITLE_CHANGES)
def test_a_title_is_changed_by_its_seed_and_id_alone(name):
  assert change_title(f" {TITLE}", name, 0, listing="a") == f" {TITLE}"
  assert change_title("", name, 3, listing="a") == ""
  made = change_title(TITLE, name, 3, listing="a")
  change_title(TITLE, name, 3, listing="b")
  assert change_title(TITLE, name, 3, listing="a") == made
  drawn = {
    change_title(TITLE, name, 3, listing=listing, seed=seed)
    for listing in "abcd"
    for seed in (0, 1)
  }
  assert len(drawn) > 4
  # A title of one word keeps one.
  assert len(change_title("mug", name, 5, listing="a").split()) >= 1


def test_a_broken_image_is_told():
  with pytest.raises(BadImage, match="the JPEG is broken"):
    change_image(b"no jpeg", "blur", 1, listing="a")


def test_a_crop_is_a_part_of_the_image(jpeg):
  whole = pixels_of(jpeg)
  for strength, kept in enumerate(IMAGE_CHANGES["crop"].strengths, 1):
    part = pixels_of(change_image(jpeg, "crop", strength, listing="a"))
    assert part.shape == (round(64 * kept), round(96 * kept), 3)
    # It is found somewhere, but for what the second JPEG loses.
    found = cv2.matchTemplate(
      whole.astype(np.uint8), part.astype(np.uint8), cv2.TM_SQDIFF
    )
    assert found.min() / part.size < 60


def test_the_strongest_rotation_is_a_right_angle(jpeg):
  turned = pixels_of(change_image(jpeg, "rotation", 5, listing="a"))
  left, right = np.rot90(pixels_of(jpeg)), np.rot90(pixels_of(jpeg), -1)
  near = min(np.abs(turned - left).mean(), np.abs(turned - right).mean())
  assert near < 3
  tilted = pixels_of(change_image(jpeg, "rotation", 4, listing="a"))
  assert tilted.shape[0] == tilted.shape[1]  # by 45 degrees
  for corner in tilted[[0, 0, -1, -1], [0, -1, 0, -1]]:
    assert corner == pytest.approx(255, abs=6)


def test_a_background_changes_and_the_product_stays(jpeg):
  before = pixels_of(jpeg)
  after = pixels_of(change_image(jpeg, "background", 5, listing="a"))
  inner = (slice(20, 44), slice(28, 68))
  assert np.abs(after[inner] - before[inner]).mean() < 4
  border = after[:6].reshape(-1, 3)
  assert np.ptp(border, axis=0).max() < 8  # one colour
  assert np.abs(border.mean(0) - 255).max() > 20
  weak = pixels_of(change_image(jpeg, "background", 1, listing="a"))
  # A fifth of the way from white.
  way = 255 - (255 - border.mean(0)) / 5
  assert weak[:6].reshape(-1, 3).mean(0) == pytest.approx(way, abs=3)


def test_a_blur_has_its_deviation(jpeg):
  after = pixels_of(change_image(jpeg, "blur", 4, listing="a"))
  expected = cv2.GaussianBlur(
    pixels_of(jpeg).astype(np.uint8), (0, 0), 0.04 * 64
  )
  assert np.abs(after - expected).mean() < 3


def test_colours_go_up_or_down(jpeg):
  """Brightness, contrast and saturation: the white background tells."""
  means = [
    pixels_of(change_image(jpeg, "colour", 5, listing=name)).mean()
    for name in "abcdefghij"
  ]
  assert min(means) < 0.7 * pixels_of(jpeg).mean()
  assert max(means) > 0.95 * pixels_of(jpeg).mean()


def test_a_watermark_is_as_wide_as_it_says(jpeg):
  white = encode(np.full((200, 300, 3), 255, np.uint8))
  for strength, wide in ((3, 0.5), (5, 0.9)):
    marked = pixels_of(change_image(white, "watermark", strength, listing="a"))
    columns = np.flatnonzero((marked < 150).any(axis=(0, 2)))
    assert np.ptp(columns) == pytest.approx(wide * 300, rel=0.05)


def changed(name: str, strength: int, listing: str) -> list[str]:
  return change_title(TITLE, name, strength, listing=listing).split()


def is_within(part, whole) -> bool:
  """Whether a list is another one with something left out."""
  rest = iter(whole)
  return all(word in rest for word in part)


@pytest.mark.parametrize("listing", ["a", "b", "c", "d"])
def test_titles_keep_what_they_must(listing):
  longer = WORDS
  for strength in range(1, 6):
    dropped = changed("dropped", strength, listing)
    assert dropped
    assert is_within(dropped, longer)  # what is gone is not back
    longer = dropped
    assert sorted(changed("shuffled", strength, listing)) == sorted(WORDS)
    misspelt = changed("misspelt", strength, listing)
    assert len(misspelt) == len(WORDS)
    for word, wrong in zip(WORDS, misspelt, strict=True):
      assert abs(len(word) - len(wrong)) <= 1
    stuffed = changed("stuffed", strength, listing)
    assert len(stuffed) == len(WORDS) + 2 ** (strength - 1)
    assert is_within(WORDS, stuffed)
  assert changed("shuffled", 5, listing) != WORDS


def test_as_many_words_are_changed_as_are_asked_for():
  title = " ".join(f"word{n}" for n in range(2000))
  for strength, rate in enumerate(TITLE_CHANGES["dropped"].strengths, 1):
    left = change_title(title, "dropped", strength, listing="a").split()
    assert 1 - len(left) / 2000 == pytest.approx(rate, abs=0.03)
    wrong = change_title(title, "misspelt", strength, listing="a").split()
    same = np.mean(np.array(wrong) == np.array(title.split()))
    # A replaced letter may be the one that was there.
    assert 1 - same == pytest.approx(rate, abs=0.04)
