// Keeps an open page up to date: the server sends parts that changed, this puts
// them in their place. Without it the page is the same, only not live.
"use strict";
(() => {
  const address = document.body.dataset.live;
  const sign = document.getElementById("live");
  if (!address || !window.EventSource) return;
  const say = (text, tone) => {
    sign.hidden = false;
    if (sign.textContent !== text) sign.textContent = text;
    sign.className = tone;
  };
  const held = new Map(); // parts that came while somebody was marking text in them

  const replace = (id, html) => {
    const part = document.getElementById(id);
    if (!part || !part.classList.contains("part")) return;
    const marked = document.getSelection();
    if (marked && !marked.isCollapsed && part.contains(marked.anchorNode)) {
      held.set(id, html);
      return;
    }
    held.delete(id);
    // What the reader did to the part stays: opened details, scrolling, focus.
    const open = [...part.querySelectorAll("details")].map((d) => d.open);
    const scrolled = [...part.querySelectorAll(".wide")].map((w) => w.scrollLeft);
    const focus = part.contains(document.activeElement) ? document.activeElement : null;
    const all = (root) => [...root.querySelectorAll("a, summary, button, input, select")];
    const at = focus ? all(part).indexOf(focus) : -1;
    const href = focus && focus.getAttribute("href");
    part.innerHTML = html;
    const details = part.querySelectorAll("details");
    if (details.length === open.length) details.forEach((d, i) => { d.open = open[i]; });
    part.querySelectorAll(".wide").forEach((w, i) => { w.scrollLeft = scrolled[i] || 0; });
    if (focus) {
      const now = all(part);
      const same = href ? now.find((e) => e.getAttribute("href") === href) : now[at];
      if (same) same.focus({ preventScroll: true });
    }
  };

  document.addEventListener("selectionchange", () => {
    for (const [id, html] of [...held]) replace(id, html);
  });

  let source;
  const connect = () => {
    source = new EventSource(address);
    source.addEventListener("open", () => say("live", "good"));
    source.addEventListener("part", (e) => {
      const [id, html] = JSON.parse(e.data);
      replace(id, html);
    });
    source.addEventListener("error", () => {
      say("not live", "warn");
      // The browser comes back by itself unless it was turned away.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 30000);
    });
  };
  // A page in the background needs no place among the readers.
  document.addEventListener("visibilitychange", () => {
    source.close();
    if (!document.hidden) connect();
  });
  connect();
})();
