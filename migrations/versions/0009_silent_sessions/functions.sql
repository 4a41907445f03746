-- Ends our sessions that have waited for their client for so many seconds in the middle of something, and tells how many they were.
-- Such a client is gone without a word, and its rows stay locked: no timeout of the server counts while a client owes the next
-- message of a statement or reads its answer no further, only between two statements of a transaction.
-- A session that idles outside of any transaction holds nothing and is left alone.
CREATE FUNCTION end_silent_sessions(silent_s double precision) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
  WHERE datname = current_database() AND usename = current_user AND application_name LIKE 'coatcheck-%' AND pid <> pg_backend_pid()
    AND state <> 'idle' AND wait_event_type = 'Client' AND wait_event IN ('ClientRead', 'ClientWrite')
    AND state_change < clock_timestamp() - make_interval(secs => silent_s)
$$
-----
REVOKE EXECUTE ON FUNCTION end_silent_sessions(double precision) FROM PUBLIC
-----
GRANT EXECUTE ON FUNCTION end_silent_sessions(double precision) TO coatcheck_worker
