"""The baseline of `batching`: batches of a fixed size that leave at the latest when a timer ends, in the place of our merger.

Everything else of the worker is the same, so that only the way of making batches differs.
"""
