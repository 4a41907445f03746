"""Signed webhooks: taking due deliveries from Postgres, dialling only where it is allowed, and recording each try."""
