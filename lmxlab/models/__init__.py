"""Language models, their presets, and sampling from them."""

from lmxlab.models.base import LanguageModel
from lmxlab.models.generate import generate, stream_tokens
from lmxlab.models.gpt import gpt_config, gpt_tiny
from lmxlab.models.llama import llama_config, llama_tiny

__all__ = [
    "LanguageModel",
    "generate",
    "gpt_config",
    "gpt_tiny",
    "llama_config",
    "llama_tiny",
    "stream_tokens",
]
