"""The one-machine stack: embedded Postgres and Redis, and the supervision of all processes."""
