"""The errors that speak to the person at the keyboard, not to a debugger."""


class UserError(ValueError):
  """Something given from outside is wrong; the message names both sides."""
