/* What scrolls in its own box must be reachable by keyboard too: give each box that is wider or
   higher than its place and holds nothing that takes the focus a tab stop, and take it away when
   it fits again. A hash that names a folded solution unfolds it. */
(() => {
  const BOXES = "div.math, mjx-container[display], .highlight pre, .output pre, " +
    ".pst-scrollable-table-container, .text_html, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-toc-nav";
  const scrolls = (box, style) =>
    (box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(style.overflowX)) ||
    (box.scrollHeight > box.clientHeight + 1 && /auto|scroll/.test(style.overflowY));
  const update = () => {
    for (const box of document.querySelectorAll(BOXES)) {
      if (scrolls(box, getComputedStyle(box))) box.tabIndex = 0;
      else if (box.tabIndex === 0) box.removeAttribute("tabindex");
    }
  };
  const unfold = () => {
    const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (named?.matches("details")) named.open = true;
  };
  addEventListener("load", () => { update(); unfold(); });
  addEventListener("resize", update);
  addEventListener("hashchange", unfold);
  document.addEventListener("toggle", update, true);  // a formula in a solution has no width before
  // Browsers that cannot print what is folded by style alone.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
})();
