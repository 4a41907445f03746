-- Whose key has this SHA-256, with its limits and its tenant's; revoked keys are nobody's.
--   hash
SELECT * FROM api_key_by_hash(:hash)
