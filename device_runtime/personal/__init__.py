"""Personalisation: what a person's own log adds to the shared model, if it helps, on this device only."""

from device_runtime.personal.blend import Blend
from device_runtime.personal.cache import PersonalCache
from device_runtime.personal.model import PersonalModel
from device_runtime.personal.tuning import Tuning

__all__ = ["Blend", "PersonalCache", "PersonalModel", "Tuning"]
