-- Hits by meaning stand beside those of the same question. unpriced: jobs that were spared a call whose price nobody knows, so that
-- saved_usd is what they saved at least.
ALTER TABLE cache_hours ADD COLUMN semantic_hits BIGINT DEFAULT 0 NOT NULL, ADD COLUMN unpriced BIGINT DEFAULT 0 NOT NULL
