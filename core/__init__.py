"""What the API and the workers must agree on: settings, lifecycle, tables, the store, doorbells, live streams."""
