"""Personalisation: what a person's own log adds to the shared model, if it helps, on this device only."""

from device_runtime.suggestions.personal.blend import Blend
from device_runtime.suggestions.personal.cache import PersonalCache
from device_runtime.suggestions.personal.model import PersonalModel
from device_runtime.suggestions.personal.tuning import Tuning

__all__ = ["Blend", "PersonalCache", "PersonalModel", "Tuning"]
