"""The portal's pages as HTML text. Each function returns a whole page; every value is escaped."""

from datetime import date
from html import escape

from demo.accounts import Account, Offer
from demo.bills import Bill, describe_status
from demo.documents import is_posted, list_kinds

BILLS_PER_PAGE = 3
LINK_WORDS = {"pdf": "PDF", "csv": "Usage CSV", "zip": "All files (ZIP)"}

_STYLE = """
:root { color-scheme: light dark; --bg: #f4f7f7; --card: #fff; --ink: #17262a; --soft: #58696e;
  --line: #dbe4e5; --brand: #0f5c63; --brand-ink: #fff; --link: #0b6770; --tint: #e2f0f0;
  --bad: #a3262a; --bad-bg: #fdeceb; --ok: #1f6b3a; --ok-bg: #e4f4e9; --warn: #7a5200; --warn-bg: #fcf1d8; }
@media (prefers-color-scheme: dark) { :root { --bg: #10191b; --card: #182428; --ink: #e6eff0;
  --soft: #9db0b4; --line: #2b3b40; --brand: #17595f; --brand-ink: #eafafa; --link: #6fd0d6;
  --tint: #1c3337; --bad: #ffb3ae; --bad-bg: #43201f; --ok: #93deac; --ok-bg: #17371f;
  --warn: #f2cd7f; --warn-bg: #3b2f12; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; background: var(--bg);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
a { color: var(--link); } h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 0 0 .25rem; } p { margin: 0 0 1rem; } .soft { color: var(--soft); }
header { background: var(--brand); color: var(--brand-ink); }
.bar { max-width: 60rem; margin: auto; padding: .75rem 1.25rem; display: flex; flex-wrap: wrap;
  gap: .5rem 1.25rem; align-items: center; }
header a { color: inherit; text-decoration: none; } header nav a:hover { text-decoration: underline; }
.brand { display: flex; gap: .6rem; align-items: center; font-weight: 650; font-size: 1.1rem;
  margin-right: auto; } .brand svg { width: 1.7rem; height: 1.7rem; }
nav { display: flex; gap: 1.25rem; }
header input { width: 11rem; padding: .35rem .75rem; border: 0; border-radius: 1rem; font: inherit;
  font-size: .9rem; background: rgb(255 255 255 / .16); color: inherit; }
header input::placeholder { color: inherit; opacity: .85; }
main { flex: 1; width: 100%; max-width: 60rem; margin: 0 auto; padding: 2.25rem 1.25rem 3rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.5rem; }
.narrow { max-width: 25rem; margin: 0 auto; } .hero { padding: 1.5rem 0 2rem; max-width: 38rem; }
.hero h1 { font-size: 2.4rem; } .hero p { font-size: 1.1rem; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); }
.grid p { margin: 0; } .figure { font-size: 1.6rem; font-weight: 650; }
.button, button { display: inline-block; border: 0; border-radius: .5rem; padding: .65rem 1.25rem;
  background: var(--brand); color: var(--brand-ink); font: inherit; font-weight: 600; cursor: pointer;
  text-decoration: none; } .button:hover, button:hover { filter: brightness(1.15); }
:focus-visible { outline: 3px solid #e0a93b; outline-offset: 2px; }
main label { display: block; margin: 0 0 1rem; font-weight: 600; }
main input { display: block; width: 100%; margin-top: .3rem; padding: .6rem .75rem; font: inherit;
  font-weight: 400; color: inherit; background: var(--bg); border: 1px solid #7d8f94; border-radius: .5rem; }
.narrow button { width: 100%; }
.alert { background: var(--bad-bg); color: var(--bad); border-radius: .5rem; padding: .75rem 1rem; }
.scroll { overflow-x: auto; padding: .5rem 0; } .scroll:focus-visible { outline-offset: -2px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .7rem 1.1rem; text-align: left; white-space: nowrap; }
th { color: var(--soft); font-size: .85rem; font-weight: 600; } td { border-top: 1px solid var(--line); }
.number { text-align: right; } td a + a { margin-left: .9rem; }
td form { display: inline-block; margin-right: .9rem; } td button { padding: .1rem .7rem; }
.pager { margin-top: 1rem; align-items: baseline; color: var(--soft); }
.status { border-radius: 1rem; padding: .1rem .65rem; font-size: .85rem; font-weight: 600; }
.paid { color: var(--ok); background: var(--ok-bg); }
.open { color: var(--warn); background: var(--warn-bg); }
.overdue { color: var(--bad); background: var(--bad-bg); }
footer { border-top: 1px solid var(--line); color: var(--soft); font-size: .875rem; }
footer p { margin: 0; }
"""

_LOGO = (
    '<svg viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2.6" stroke-linecap="round"'
    ' aria-hidden="true"><path d="M3 12h16a4.5 4.5 0 1 0-4.2-6M3 18h22a4 4 0 1 1-3.8 5.4M3 24h10"/></svg>'
)
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='7' fill='%230f5c63'/%3E%3Cpath d='M6 13h12a3.5 3.5 0 1 0-3-5M6 19h18'"
    " fill='none' stroke='white' stroke-width='2.6' stroke-linecap='round'/%3E%3C/svg%3E"
)

_HELP_ARTICLES = (
    (
        "Reading your bill",
        "A bill covers the 21st to the 20th: the energy used, the standing charge and VAT.",
    ),
    (
        "When bills appear",
        "A new bill is online on the 1st of each month. The most recent ones stay available.",
    ),
    ("Daily usage as CSV", "Each bill comes with a CSV of the energy used and its cost, one row a day."),
    ("Paying a bill", "Bills are paid by direct debit on the due date. There is nothing to do."),
    ("Moving home", "Tell us two weeks ahead and we read the meter on the day you move."),
)


def render_landing(signed_in: Account | None) -> str:
    action = '<a class="button" href="/billing">See your bills</a>' if signed_in else _SIGN_IN_LINK
    return render_page(
        "Power from the north wind",
        f"""<section class="hero"><h1>Power from the north wind</h1>
<p class="soft">Electricity from the turbines off Northcliff, and bills you can read: sign in to see what
you used, what it costs and when it is due.</p>{action}</section>
<section class="grid">
<div class="card"><h2>All bills in one place</h2><p class="soft">Every recent invoice as a PDF, as it was
posted.</p></div>
<div class="card"><h2>Your usage, day by day</h2><p class="soft">A CSV with each bill, for a spreadsheet of
your own.</p></div>
<div class="card"><h2>One fair rate</h2><p class="soft">The same unit rate day and night, all year.</p></div>
</section>""",
        signed_in,
    )


_SIGN_IN_LINK = '<a class="button" href="/login">Sign in</a>'


def render_login(csrf_token: str, username: str = "", error: str = "") -> str:
    alert = f'<p class="alert" role="alert">{escape(error)}</p>' if error else ""
    return render_page(
        "Sign in",
        f"""<div class="card narrow"><h1>Sign in</h1>
<p class="soft">Use the e-mail address on your contract.</p>{alert}
<form method="post" action="/login">
<input type="hidden" name="csrf_token" value="{escape(csrf_token)}">
<label>E-mail address
<input type="email" name="email" value="{escape(username)}" autocomplete="username" required></label>
<label>Password
<input type="password" name="password" autocomplete="current-password" required></label>
<button type="submit">Sign in</button>
</form></div>""",
    )


def render_account(account: Account, bills: list[Bill]) -> str:
    newest = _render_newest_bill(bills[0]) if bills else "<p>There are no bills yet.</p>"
    return render_page(
        "Your account",
        f"""<h1>Hello, {escape(account.name)}</h1><p class="soft">Here is your account at a glance.</p>
<section class="grid">
<div class="card"><h2>Newest bill</h2>{newest}</div>
<div class="card"><h2>Supply address</h2><p>{escape(account.street)}<br>{escape(account.town)}</p></div>
<div class="card"><h2>Customer number</h2><p class="figure">{escape(account.customer_number)}</p>
<p class="soft">{escape(account.username)}</p></div>
</section>
<p style="margin-top: 1.5rem"><a class="button" href="/billing">Bills and usage</a></p>""",
        account,
    )


def _render_newest_bill(bill: Bill) -> str:
    return f"""<p class="figure">{bill.currency} {bill.amount:,.2f}</p>
<p class="soft">due on <time datetime="{bill.due_on}">{bill.due_on}</time></p>"""


def count_pages(bills: list[Bill]) -> int:
    return -(-len(bills) // BILLS_PER_PAGE)


def render_billing(account: Account, bills: list[Bill], today: date, page: int, csrf_token: str) -> str:
    """One page of the bills, counted from 1; the token is for the form that sends a document."""
    shown = bills[(page - 1) * BILLS_PER_PAGE : page * BILLS_PER_PAGE]
    if not bills:
        content = """<div class="card"><h2>There are no bills yet.</h2>
<p class="soft" style="margin: 0">Your first bill will be here after your first month with us.</p></div>"""
    elif account.offer is Offer.BARE:
        items = "".join(
            f'<li><a href="/bills/{bill.number}.pdf">Invoice {bill.issued_on:%B %Y} (PDF)</a>' for bill in shown
        )
        content = f'<div class="card"><ul id="bills">{items}</ul></div>'
    else:
        content = _render_bill_table(shown, today, csrf_token)
    return render_page(
        "Bills and usage",
        f"""<h1>Bills and usage</h1>
<p class="soft">{escape(account.name)}, customer number {escape(account.customer_number)}</p>
{content}{_render_pager(page, count_pages(bills))}""",
        account,
    )


def _render_bill_table(bills: list[Bill], today: date, csrf_token: str) -> str:
    rows = "\n".join(_render_bill_row(bill, describe_status(bill, today), csrf_token) for bill in bills)
    return f"""<div class="card scroll" tabindex="0" role="region" aria-label="Bills">
<table id="bills">
<thead><tr><th scope="col">Invoice number</th><th scope="col">Issue date</th><th scope="col">Due date</th>
<th scope="col" class="number">Amount</th><th scope="col">Currency</th><th scope="col">Status</th>
<th scope="col">Documents</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>"""


def _render_pager(page: int, pages: int) -> str:
    if pages < 2:
        return ""
    newer = f'<a href="/billing?page={page - 1}">‹ Newer bills</a>' if page > 1 else ""
    older = f'<a rel="next" href="/billing?page={page + 1}">Older bills ›</a>' if page < pages else ""
    return f'<nav class="pager" aria-label="Pages of bills">{newer}<span>Page {page} of {pages}</span>{older}</nav>'


def _render_bill_row(bill: Bill, status: str, csrf_token: str) -> str:
    links = "".join(_render_document(bill, kind, csrf_token) for kind in list_kinds(bill.account))
    return f"""<tr><td>{bill.number}</td><td><time datetime="{bill.issued_on}">{bill.issued_on}</time></td>
<td><time datetime="{bill.due_on}">{bill.due_on}</time></td><td class="number">{bill.amount:,.2f}</td>
<td>{bill.currency}</td><td><span class="status {status.lower()}">{status}</span></td>
<td>{links}</td></tr>"""


def _render_document(bill: Bill, kind: str, csrf_token: str) -> str:
    if is_posted(bill.account, kind):
        return f"""<form method="post" action="/bills/{bill.number}/download">
<input type="hidden" name="csrf_token" value="{escape(csrf_token)}"><button>PDF</button></form>"""
    return f'<a href="/bills/{bill.number}.{kind}">{LINK_WORDS[kind]}</a>'


def render_help(query: str, signed_in: Account | None) -> str:
    found = [(title, text) for title, text in _HELP_ARTICLES if query.lower() in f"{title} {text}".lower()]
    cards = "".join(f'<div class="card"><h2>{title}</h2><p class="soft">{text}</p></div>' for title, text in found)
    note = f"{len(found)} of {len(_HELP_ARTICLES)} topics mention “{escape(query)}”." if query else "All topics."
    return render_page(
        "Help", f'<h1>Help</h1><p class="soft">{note}</p><section class="grid">{cards}</section>', signed_in
    )


def render_message(title: str, text: str) -> str:
    """A page that only says something: not found, busy, refused."""
    return render_page(
        title,
        f"""<div class="card narrow"><h1>{escape(title)}</h1><p>{escape(text)}</p>
<p style="margin: 0"><a href="/">Back to the start page</a></p></div>""",
    )


def render_page(title: str, main: str, signed_in: Account | None = None) -> str:
    links = (
        '<a href="/account">Account</a><a href="/billing">Bills</a><a href="/logout">Sign out</a>'
        if signed_in
        else '<a href="/login">Sign in</a>'
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · Northwind Energy</title><link rel="icon" href="{_ICON}">
<style>{_STYLE}</style></head>
<body><header><div class="bar"><a class="brand" href="/">{_LOGO}Northwind Energy</a>
<form action="/help" method="get" role="search"><input type="search" name="q" placeholder="Search help"
aria-label="Search help"></form><nav aria-label="Main">{links}</nav></div></header>
<main>{main}</main>
<footer><div class="bar"><p>Northwind Energy is fictional: a portal for trying out scheduled imports.
Its customers, bills and amounts are made up.</p></div></footer></body></html>
"""
