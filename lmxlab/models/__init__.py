"""Language models, their presets, and sampling from them."""

from lmxlab.models.base import LanguageModel

__all__ = ["LanguageModel"]
