-- The questions of a partition that may mean the same, nearest first: key of the answer, text, cosine.
--   tenant, partition, embedder, vector (256 reals), signature, most (by words, and by vectors)
SELECT cache_key, question, similarity FROM semantic_near(:tenant, :partition, :embedder, :vector, :signature, :most)
