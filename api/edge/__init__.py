"""What every request meets first: HTTP limits, request ids, trace context, body reading, errors as problems."""
