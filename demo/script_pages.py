"""Pages whose sign-in form and bills are made by scripts: in what the server sends there is neither.

The browser engine is tried against them. Each function returns a whole page; `nonce` lets its script run.
"""

from demo.pages import render_page

_SIGN_IN = """
const field = (text, type, name, autocomplete) => {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type, autocomplete, required: true });
  label.append(text, input);
  return [label, input];
};
addEventListener("DOMContentLoaded", () => {
  const [email, username] = field("E-mail address", "email", "email", "username");
  const [secret, password] = field("Password", "password", "password", "current-password");
  const alert = Object.assign(document.createElement("p"), { className: "alert", role: "alert", hidden: true });
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Sign in" });
  button.disabled = true;
  for (const input of [username, password])
    input.addEventListener("input", () => { button.disabled = !(username.value && password.value); });
  button.addEventListener("click", async () => {
    const body = JSON.stringify({ email: username.value, password: password.value });
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("/script/session", { method: "POST", headers, body });
    if (answer.ok) return location.assign("/account");
    alert.textContent = (await answer.json()).error;
    alert.hidden = false;
  });
  document.querySelector("#form").append(alert, email, secret, button);
});
"""

_BILLS = """
addEventListener("DOMContentLoaded", async () => {
  const bills = await (await fetch("/script/bills")).json();
  const place = document.querySelector("#bills");
  if (!bills.length) { place.textContent = "There are no bills yet."; return; }
  const table = place.appendChild(document.createElement("table"));
  const heads = ["Invoice number", "Issue date", "Due date", "Amount", "Currency", "Status", "Documents"];
  const head = table.createTHead().insertRow();
  for (const text of heads) head.appendChild(document.createElement("th")).textContent = text;
  const body = table.createTBody();
  for (const bill of bills) {
    const row = body.insertRow();
    for (const key of ["number", "issued_on", "due_on", "amount", "currency", "status"])
      row.insertCell().textContent = bill[key];
    const cell = row.insertCell();
    for (const { text, href } of bill.documents)
      cell.append(Object.assign(document.createElement("a"), { textContent: text, href }), " ");
  }
});
"""


def render_login(nonce: str) -> str:
    return render_page(
        "Sign in",
        f"""<div class="card narrow" id="form"><h1>Sign in</h1>
<p class="soft">Use the e-mail address on your contract.</p></div>
<script nonce="{nonce}">{_SIGN_IN}</script>""",
    )


def render_billing(nonce: str) -> str:
    return render_page(
        "Bills and usage",
        f"""<h1>Bills and usage</h1><div class="card scroll" id="bills"></div>
<script nonce="{nonce}">{_BILLS}</script>""",
    )
