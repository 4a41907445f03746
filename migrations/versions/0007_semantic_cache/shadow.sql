-- Near hits that were not served: what the guard said of them, and how far the kept answer agreed with the one that came.
--   similarity       cosine of both questions
--   guard            why they may not share an answer, in a word; null where they may
--   same             both answers are equal, letter by letter
--   answers_cosine   cosine of both answers; null where one of them has no text
CREATE TABLE semantic_shadow (
  id UUID NOT NULL,
  tenant_id UUID NOT NULL,
  endpoint TEXT NOT NULL,
  model TEXT NOT NULL,
  embedder TEXT NOT NULL,
  threshold DOUBLE PRECISION NOT NULL,
  similarity DOUBLE PRECISION NOT NULL,
  guard TEXT,
  kept_question TEXT NOT NULL,
  question TEXT NOT NULL,
  same BOOLEAN NOT NULL,
  answers_cosine DOUBLE PRECISION,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT semantic_shadow_pkey PRIMARY KEY (id)
)
-----
CREATE INDEX semantic_shadow_tenant_id_id_idx ON semantic_shadow (tenant_id, id)
-----
GRANT SELECT, DELETE ON semantic_shadow TO coatcheck_api
-----
GRANT SELECT, INSERT, DELETE ON semantic_shadow TO coatcheck_worker
-----
ALTER TABLE semantic_shadow ENABLE ROW LEVEL SECURITY
-----
CREATE POLICY tenant_wall ON semantic_shadow TO coatcheck_api USING (
  tenant_id = any ((SELECT string_to_array(nullif(current_setting('app.tenants', true), ''), ',')::uuid[])::uuid[]))
-----
CREATE POLICY worker_serves_all ON semantic_shadow TO coatcheck_worker USING (true) WITH CHECK (true)
