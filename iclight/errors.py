"""What can go wrong, in words a user can act on.

Everything a user can cause is an `IclightError`: its message says what happened and what to do about it, and the
faces (pages, command line) show that message as it is. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations


class IclightError(Exception):
    """Base of every error that a user can cause and mend."""


class SettingsError(IclightError, ValueError):
    """A knob was given a value it does not take; the message names the knob, the value and the range."""


class ImageError(IclightError, ValueError):
    """A picture, matte or background cannot be used: not an image, broken, empty or too large."""


class ModelError(IclightError):
    """A model cannot be used: wrong kind of file, wrong shapes, or an output that makes no sense."""


class WeightsError(ModelError):
    """Weights are missing, broken or could not be fetched; the message says how to get them."""


class DeviceError(IclightError):
    """The device asked for is not there, or does not do what was asked of it."""


class OutOfMemory(IclightError):
    """The work did not fit into memory; the message says which knob to turn."""


class RecipeError(IclightError, ValueError):
    """A recipe cannot be read, was altered, or asks for a model that is not here."""


class Cancelled(IclightError):
    """The caller asked to stop: `on_step` returned False."""

    def __init__(self, message: str = "Cancelled.") -> None:
        super().__init__(message)
