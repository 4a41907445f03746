"""Small real models inside the worker: embeddings, extractive summaries and key points, without a key or a download."""

from workers.providers.local.provider import LocalProvider

__all__ = ["LocalProvider"]
