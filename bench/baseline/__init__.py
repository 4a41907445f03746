"""What one would write without Coatcheck: FastAPI, SQLAlchemy and Celery as their documentation recommends.

It stands here as the yardstick, so every choice that was open was made in its favour:

- FastAPI on uvicorn with uvloop and httptools; an async SQLAlchemy session for each request from a pool of 20 asyncpg
  connections, `expire_on_commit=False`; one INSERT, one commit, then `delay`, and a 202.
- Celery's `threads` pool with 100 threads (50 and 200 were no faster), JSON, early acknowledgement (the default), no
  result backend: the result goes straight into the job's row by one UPDATE through a synchronous SQLAlchemy session (psycopg 3).
- The request body travels in the message, which saves the worker a SELECT.
- `httpx.Client` with keep-alive and room for a connection for each thread. Two variants, because both are commonly written: one
  client shared by all threads, and a client for each thread.
- No API keys, rate limits, idempotency keys, attempts, events, fairness, leases, retries or webhooks: none of what Coatcheck
  does at the same time is asked of it.

It has the same Postgres (durable), the same Redis as its broker (on the same socket), the same simulator, the same machine.
"""
