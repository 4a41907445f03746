DROP FUNCTION standing(uuid, uuid, integer)
