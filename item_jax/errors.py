"""The errors that speak to the person at the keyboard, not to a debugger."""

# What a path from outside raises that is not what it was taken for.
WRONG_PATHS = (
  FileNotFoundError,
  FileExistsError,
  NotADirectoryError,
  IsADirectoryError,
  PermissionError,
)


class UserError(ValueError):
  """Something given from outside is wrong; the message names both sides."""
