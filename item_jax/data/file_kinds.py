"""Names the kind of a file that is not a readable image, by its first bytes."""

import re

_LOOKED_AT = 1024  # bytes
_MARKUP = rb"(\xef\xbb\xbf)?\s*"
_KINDS = (  # the first that matches at the beginning of the file
  (
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP",
    "broken, though it begins as one",
  ),
  (rb"GIF8[79]a", "GIF"),
  (rb"II[*+]\0|MM\0[*+]", "TIFF"),
  (rb"BM....\0\0\0\0", "BMP"),
  (rb"....ftyp(avif|avis)", "AVIF"),
  (rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", "HEIC"),
  (rb"....ftyp", "a video or another ISO media file"),
  (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
  (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
  (rb"\0\0\x01\0", "a Windows icon"),
  (rb"8BPS", "Photoshop's PSD"),
  (rb"%PDF", "PDF"),
  (rb"%!PS", "PostScript"),
  (rb"PK\x03\x04", "a ZIP archive"),
  (rb"\x1f\x8b", "compressed by gzip"),
  (rb"version https://git-lfs", "a pointer of Git LFS, not the file itself"),
  (_MARKUP + rb"(<!doctype +html|(<[?!].*)?<html|<(head|body)\b)", "HTML"),
  (_MARKUP + rb"(<[?!].*)?<svg", "SVG"),
  (_MARKUP + rb"<\?xml", "XML"),
  (rb"\0+\Z", "nothing but zeros"),
  (rb"[\t\n\r -~]+\Z", "text"),
)


def name_kind(data: bytes) -> str:
  """Names the kind of a file; "" where it is unknown."""
  begin = data[:_LOOKED_AT]
  for pattern, kind in _KINDS:
    if re.match(pattern, begin, re.IGNORECASE | re.DOTALL):
      return kind
  return ""
