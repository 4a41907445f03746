"""An OpenAI-compatible server that simulates models. Every model is named `sim/…` and every text begins with `[sim]`.

Start it with `python -m cli.simulator --port N`. `models.py` says how each model behaves; a request changes that for itself
by a member `sim` of its body, which the Coatcheck API passes through:

- `latency_ms`: the whole answer's time · `ttft_ms`, `tokens_per_s`, `tokens`: the time and length of a text
- `text`, `tool_calls: [{name, arguments}]`, `refusal`, `reasoning`, `finish_reason`, `cached_tokens`: what is answered
- `error: {status, retry_after, retry_after_ms, code, message, type, times, rate, leak}`: fail; with `times: n` only the first n
  requests of the same `sim.key`, with `rate` that share of them, with `leak` the message repeats the Authorization header
- `slow_calls: {rate, times}`: that share of the requests takes so many times (default 10) as long to its first token
- `refuse: "<word>"`: refuse requests of which an item holds the word, with 400 · `max_items: n`: those with more items, with 413
- `hang: true`: do not answer before `POST /control {"release": true}` (or `{"release": "<key>"}`)
- `malformed`: a reply that goes wrong; `html`, `empty`, `bad_json`, `wrong_shape`, `deep`, `nan`, `bad_utf8`, `truncated`,
  `truncated_chunks`, `reset`, `half_close`, `not_http`, `hang_after_headers`, `slow` (`every_ms`), `huge` and `gzip` (`bytes`);
  of a stream `stream_error`, `stream_cut`, `stream_hang` (`after_tokens`); of embeddings `shuffled`, `missing_item`
- `key`: a name of the request, also shown by `/stats`

`POST /control {"model": "sim/chat", …the same members}` changes a model's (without `model`: every model's) behaviour until
`{"clear": true}`. `/v1/files` and `/v1/batches` are a Batch API; `batches.py` says how it is steered.
`GET /stats` tells what was seen and can wait: `/stats?min_in_flight=1&wait_s=10`.
"""
