"""Newer and older pages of a list that is read by keyset: the trail holds where each page after the first began."""

from typing import TypeVar

import streamlit as st

Cursor = TypeVar("Cursor")


def render_paging(
    trail: list[Cursor], next_cursor: Cursor | None, key: str, *, back: str = "Newer", on: str = "Older"
) -> None:
    """The two buttons, when there is more than one page; they change the trail before the page is drawn next."""
    if not trail and next_cursor is None:
        return

    def go_back() -> None:
        trail.pop()

    def go_on() -> None:
        if next_cursor is not None:
            trail.append(next_cursor)

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(back, icon=":material/chevron_left:", disabled=not trail, key=f"{key}-newer", on_click=go_back)
        st.button(
            on,
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=next_cursor is None,
            key=f"{key}-older",
            on_click=go_on,
        )
        st.caption(f"Page {len(trail) + 1}")
