// What a person sees of the document now, as HTML that the page readers of the http engine understand.
//
// Returns {html, url, live}: a copy with shadow trees in their places and without scripts, what is not shown marked
// `hidden`, and fields that stand in no form put into one; each control's mark is its position in `live`, the page's
// own elements. Changes nothing on the page. `html` is null when it would be longer than `limit`.
([limit, mark]) => {
  const LEFT_OUT = new Set(["SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "IFRAME", "OBJECT", "EMBED"]);
  const CONTROLS = "input, button, select, textarea, a, [role=button]";
  const FIELDS = "input:not([type=hidden]):not([type=password]):not([type=submit]):not([type=button])";
  const USERNAME = /user|log.?in|mail|customer|kunden|benutzer/i;
  const NO_FORM_INSIDE = new Set(["TABLE", "TBODY", "THEAD", "TR", "UL", "OL", "DL", "P", "LABEL", "SPAN"]);
  const inert = document.implementation.createHTMLDocument("");
  const live = [];

  const childrenOf = (node) => {
    if (node.shadowRoot) return node.shadowRoot.childNodes;
    const assigned = node.localName === "slot" && node.assignedNodes ? node.assignedNodes() : [];
    return assigned.length ? assigned : node.childNodes;
  };
  const parentOf = (node) => node.assignedSlot || node.parentElement || (node.getRootNode() || {}).host || null;
  const holds = (node, selector) =>
    node.querySelector(selector) || (node.shadowRoot && node.shadowRoot.querySelector(selector));
  const isShown = (node) => !node.checkVisibility || node.checkVisibility({ visibilityProperty: true });

  // A password field without a form, or where there is none at all a field for a username, and the smallest part around
  // it that also holds the button, and for a password a field for the username.
  const controls = [];
  const gather = (root) => {
    for (const node of root.querySelectorAll("*")) {
      if (node.shadowRoot) gather(node.shadowRoot);
      if (node.localName === "input") controls.push(node);
    }
  };
  gather(document);
  const shown = controls.filter(isShown);
  const passwords = shown.filter((node) => node.type === "password");
  const usernames = shown.filter((node) => ["text", "email", "tel"].includes(node.type) && USERNAME.test(
    [node.autocomplete, node.type, node.name, node.id].join(" ")));
  const madeForms = new Set();
  for (const node of passwords.length ? passwords : usernames) {
    for (let around = node.form ? null : parentOf(node); around; around = parentOf(around)) {
      if (holds(around, "form")) break;
      if (NO_FORM_INSIDE.has(around.tagName) || (passwords.length && !holds(around, FIELDS))) continue;
      if (!holds(around, "button, [role=button], [type=submit]") && around !== document.body) continue;
      madeForms.add(around);
      break;
    }
  }

  const top = inert.createElement("html");
  const waiting = [[document.documentElement, top, false, false]];
  while (waiting.length) {
    const [source, target, isHidden, wasInMadeForm] = waiting.pop();
    const isInMadeForm = wasInMadeForm || madeForms.has(source);
    const into = madeForms.has(source) ? target.appendChild(inert.createElement("form")) : target;
    for (const child of childrenOf(source)) {
      if (child.nodeType === Node.TEXT_NODE) {
        into.appendChild(inert.createTextNode(child.data));
      } else if (child.nodeType === Node.ELEMENT_NODE && !LEFT_OUT.has(child.tagName)) {
        const copy = inert.createElement(child.localName);
        for (const { name, value } of child.attributes) {
          try { copy.setAttribute(name, value); } catch { /* a name that only a parser can make */ }
        }
        copy.removeAttribute(mark);
        // Nobody sees it, and it is not for this step.
        if (child.type === "password" && !isShown(child)) continue;
        if (copy.localName === "button" && (isInMadeForm || !child.form)) copy.removeAttribute("type"); // a script's own
        let isNowHidden = isHidden;
        if (!isHidden && child.closest("body") && getComputedStyle(child).display === "none") isNowHidden = true;
        if (isNowHidden !== isHidden) copy.setAttribute("hidden", "");
        if (child.matches(CONTROLS)) {
          if (!isNowHidden && !isShown(child)) copy.setAttribute("hidden", "");
          copy.setAttribute(mark, String(live.push(child) - 1));
        }
        into.appendChild(copy);
        waiting.push([child, copy, isNowHidden, isInMadeForm]);
      }
    }
  }
  const html = top.outerHTML;
  return { html: html.length > limit ? null : html, url: location.href, live };
}
