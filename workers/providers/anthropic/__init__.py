"""The Messages API of Anthropic, in and out in the shapes of OpenAI's chat completions."""

from workers.providers.anthropic.provider import AnthropicProvider

__all__ = ["AnthropicProvider"]
