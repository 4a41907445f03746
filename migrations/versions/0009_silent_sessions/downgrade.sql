DROP FUNCTION end_silent_sessions(double precision)
