"""Pairs of questions, and how well the semantic cache tells those with one answer from the others."""
