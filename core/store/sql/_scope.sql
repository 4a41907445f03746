-- Fragment: lets row security see the tenants of this statement, in the statement itself.
-- What reads rows must be LATERAL to `scope` and look at `scope.seen`: so it runs after the setting is made. Were it ever to run
-- before, it would find nothing: the walls fail closed.
WITH scope AS MATERIALIZED (SELECT set_config('app.tenants', CAST(:tenants AS text), true) AS seen)
