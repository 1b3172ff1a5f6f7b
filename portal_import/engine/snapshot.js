// What a person sees of the document now, as HTML that the page readers of the http engine understand.
//
// Returns {html, url, live}: a copy with shadow trees in their places and without scripts, what is not shown marked
// `hidden`, and fields that stand in no form put into one; each control's mark is its position in `live`, the page's
// own elements. Changes nothing on the page. `html` is null when it would be longer than `limit`.
([limit, mark]) => {
  const LEFT_OUT = new Set(["SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "IFRAME", "OBJECT", "EMBED"]);
  const CONTROLS = "input, button, select, textarea, a, [role=button]";
  const FIELDS = "input:not([type=hidden]):not([type=password]):not([type=submit]):not([type=button])";
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

  // The smallest part around a password field without a form that also holds a field for the username.
  const madeForms = new Set();
  const collect = (root) => {
    for (const node of root.querySelectorAll("*")) {
      if (node.shadowRoot) collect(node.shadowRoot);
      if (node.localName !== "input" || node.type !== "password" || node.form || !isShown(node)) continue;
      for (let around = parentOf(node); around; around = parentOf(around)) {
        if (holds(around, "form")) break;
        if (NO_FORM_INSIDE.has(around.tagName) || !holds(around, FIELDS)) continue;
        if (!holds(around, "button, [role=button], [type=submit]") && around !== document.body) continue;
        madeForms.add(around);
        break;
      }
    }
  };
  collect(document);

  const top = inert.createElement("html");
  const waiting = [[document.documentElement, top, false]];
  while (waiting.length) {
    const [source, target, isHidden] = waiting.pop();
    let into = target;
    if (madeForms.has(source)) into = target.appendChild(inert.createElement("form"));
    for (const child of childrenOf(source)) {
      if (child.nodeType === Node.TEXT_NODE) {
        into.appendChild(inert.createTextNode(child.data));
      } else if (child.nodeType === Node.ELEMENT_NODE && !LEFT_OUT.has(child.tagName)) {
        const copy = inert.createElement(child.localName);
        for (const { name, value } of child.attributes) {
          try { copy.setAttribute(name, value); } catch { /* a name that only a parser can make */ }
        }
        copy.removeAttribute(mark);
        let isNowHidden = isHidden;
        if (!isHidden && child.closest("body") && getComputedStyle(child).display === "none") isNowHidden = true;
        if (isNowHidden !== isHidden) copy.setAttribute("hidden", "");
        if (child.matches(CONTROLS)) {
          if (!isNowHidden && !isShown(child)) copy.setAttribute("hidden", "");
          copy.setAttribute(mark, String(live.push(child) - 1));
        }
        into.appendChild(copy);
        waiting.push([child, copy, isNowHidden]);
      }
    }
  }
  const html = top.outerHTML;
  return { html: html.length > limit ? null : html, url: location.href, live };
}
