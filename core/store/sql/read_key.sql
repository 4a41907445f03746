-- Whose key has this SHA-256; revoked keys are nobody's.
--   hash
SELECT id, tenant_id, scopes, requests_per_minute, token_hash FROM api_key_by_hash(:hash)
