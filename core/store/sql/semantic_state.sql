-- Whether this database can keep vectors.
SELECT to_regprocedure('semantic_near(uuid, bytea, text, real[], bytea, integer)') IS NOT NULL AS there,
  EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') AS made,
  EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') AS offered
