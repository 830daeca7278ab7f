"""Errors for users: their messages explain what to change."""

# Raised for a path given by the user that is missing or of another kind.
WRONG_PATHS = (
  FileNotFoundError,
  FileExistsError,
  NotADirectoryError,
  IsADirectoryError,
  PermissionError,
)


class UserError(ValueError):
  """Something that the user gave is wrong; the message names both sides."""


class NotFoundError(UserError, FileNotFoundError):
  """A path that the user gave leads nowhere."""


class AlreadyThereError(UserError, FileExistsError):
  """Something stands where the user wants something else written."""
