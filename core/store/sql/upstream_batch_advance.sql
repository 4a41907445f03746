-- Moves a batch on to its next state, under the lease that the worker has.
--   id, fence, state; endpoint, jobs, file_id, upstream_id, output_file_id, error_file_id, outcome, error: null keeps what is there
-- Returns the batch; nothing when another worker has it by now.
UPDATE upstream_batches SET
  state = CAST(:state AS text), tries = 1,
  endpoint = coalesce(CAST(:endpoint AS text), endpoint),
  jobs = coalesce(CAST(:jobs AS integer), jobs),
  file_id = coalesce(CAST(:file_id AS text), file_id),
  upstream_id = coalesce(CAST(:upstream_id AS text), upstream_id),
  output_file_id = coalesce(CAST(:output_file_id AS text), output_file_id),
  error_file_id = coalesce(CAST(:error_file_id AS text), error_file_id),
  outcome = coalesce(CAST(:outcome AS text), outcome),
  error = coalesce(CAST(:error AS jsonb), error),
  submitted_at = CASE WHEN CAST(:state AS text) = 'submitted' THEN now() ELSE submitted_at END,
  ended_at = CASE WHEN CAST(:state AS text) = 'ended' THEN now() ELSE ended_at END,
  lease_until = CASE WHEN CAST(:state AS text) = 'settled' THEN NULL ELSE lease_until END
WHERE id = :id AND fence = :fence AND state <> 'settled'
RETURNING *
