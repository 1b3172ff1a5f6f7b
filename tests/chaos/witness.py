"""A witness in the database: triggers that note each step of a run and each result as it is written.

What the product believes of itself is one thing; this is what its transactions did, by the server's clock.
"""

from sqlalchemy import Engine, text

TESTIMONY = """
    CREATE TABLE chaos_steps (
        id bigint GENERATED ALWAYS AS IDENTITY, run_id bigint, session_id text, was text, became text,
        lease_token uuid, at timestamptz DEFAULT clock_timestamp()
    );
    CREATE TABLE chaos_results (
        id bigint GENERATED ALWAYS AS IDENTITY, run_id bigint, username text, at timestamptz DEFAULT clock_timestamp()
    );
    CREATE FUNCTION chaos_note_step() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO chaos_steps (run_id, session_id, was, became, lease_token)
        VALUES (NEW.id, NEW.session_id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, NEW.lease_token);
        RETURN NULL;
    END $$;
    CREATE FUNCTION chaos_note_result() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO chaos_results (run_id, username) VALUES (NEW.run_id, NEW.username);
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos_insert AFTER INSERT ON import_runs FOR EACH ROW EXECUTE FUNCTION chaos_note_step();
    CREATE TRIGGER chaos_update AFTER UPDATE ON import_runs FOR EACH ROW
        WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.lease_token IS DISTINCT FROM NEW.lease_token)
        EXECUTE FUNCTION chaos_note_step();
    CREATE TRIGGER chaos_result AFTER INSERT ON import_results FOR EACH ROW EXECUTE FUNCTION chaos_note_result();
"""

SLOW_INSERTS = """
    CREATE FUNCTION chaos_slow_down() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;
    CREATE TRIGGER chaos_slow BEFORE INSERT ON import_runs FOR EACH ROW EXECUTE FUNCTION chaos_slow_down();
"""


def call_witness(engine: Engine) -> None:
    """Install the triggers; from now on everything is noted."""
    with engine.begin() as connection:
        connection.execute(text(TESTIMONY))


def slow_down_firing(engine: Engine, seconds: float) -> None:
    """Let each new run take that long to be inserted, so that a kill meets the middle of a fire pass."""
    with engine.begin() as connection:
        connection.execute(text(SLOW_INSERTS.format(seconds=seconds)))
