"""What is written as one literal is read by Postgres as it was."""

from sqlalchemy import Engine, text

from db.array_literals import bool_array, int_array, text_array

ODD_TEXTS = ["", "NULL", 'say "no"', "back\\slash", "a,b", "{braces}", " spaces ", "ünï ☃", "line\nbreak", "it's %s :x"]


def test_arrays_are_read_as_they_were_written(engine: Engine) -> None:
    with engine.connect() as connection:
        read = connection.execute(
            text(
                "SELECT CAST(:texts AS text[]), CAST(:ints AS int[]), CAST(:bools AS boolean[]), CAST(:none AS text[])"
            ),
            {
                "texts": text_array(ODD_TEXTS),
                "ints": int_array([0, None, -7, 2**31 - 1]),
                "bools": bool_array([True, False]),
                "none": text_array([]),
            },
        ).one()
    assert tuple(read) == (ODD_TEXTS, [0, None, -7, 2**31 - 1], [True, False], [])
