-- One look at what a sweep would find, so that an idle second costs one statement.
--   lanes[]
SELECT EXISTS (SELECT FROM waiting WHERE run_at <= now()) AS due,
  EXISTS (SELECT FROM ready WHERE expires_at <= now()) AS late,
  EXISTS (SELECT FROM running r
          WHERE NOT EXISTS (SELECT FROM processes p WHERE p.id = r.process_id AND p.lease_until > now())) AS lost,
  EXISTS (SELECT FROM webhook_deliveries WHERE status = 'pending' AND next_try_at <= now()) OR
  EXISTS (SELECT FROM webhook_deliveries WHERE status = 'sending' AND lease_until <= now()) AS deliveries,
  ARRAY(SELECT l.lane FROM unnest(CAST(:lanes AS text[])) AS l (lane)
        WHERE EXISTS (SELECT FROM ready r WHERE r.lane = l.lane)) AS lanes
