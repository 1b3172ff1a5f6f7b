"""A page of hostile texts, shown by the means that the pages use."""

import pandas as pd
import streamlit as st

from ui.plain_text import inert_frame, plain

SCRIPT = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"
MARKDOWN = f"{SCRIPT} [click](https://evil.example) ![x](https://evil.example/x.png) https://evil.example"

st.title(plain(MARKDOWN), anchor=False)
st.markdown(plain(MARKDOWN))
st.warning(plain(MARKDOWN))
st.text(MARKDOWN)
NUMBERS = ["=1+1", "＋1", "safe"]
TEXTS = ["@SUM(A1)", SCRIPT, "-1"]
st.dataframe(inert_frame(pd.DataFrame({"number": NUMBERS, "text": TEXTS, "amount": [-5.1, 2, 3]})), hide_index=True)
st.caption("All is drawn")
