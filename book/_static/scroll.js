/* What scrolls sideways in its own box must be reachable by keyboard too: give each box
   that is wider than its place a tab stop, and take it away when it fits again. */
(() => {
  const BOXES = "div.math, mjx-container[display], .highlight pre, .output pre, .pst-scrollable-table-container, .text_html";
  const update = () => {
    for (const box of document.querySelectorAll(BOXES)) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 &&
        ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
      if (scrolls) box.tabIndex = 0;
      else if (box.tabIndex === 0) box.removeAttribute("tabindex");
    }
  };
  addEventListener("load", () => {
    update();
    // Formulas take their width when MathJax is done, which is after `load`.
    window.MathJax?.startup?.promise?.then(update);
  });
  addEventListener("resize", update);
})();
