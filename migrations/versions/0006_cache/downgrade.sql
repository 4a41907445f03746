REVOKE INSERT, UPDATE ON usage_days FROM coatcheck_api
-----
DROP TABLE cache_hours
