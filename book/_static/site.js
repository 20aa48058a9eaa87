// Keyboard access to what scrolls sideways: a wide formula, table or output becomes a tab stop as long as it is wider than its box,
// so that the arrow keys can scroll it. (The theme does the same for code blocks.)
(() => {
  "use strict";

  const SCROLLABLE =
    ".bd-article mjx-container[display='true'], .bd-article div.math, .bd-article .cell_output .output, " +
    ".bd-article .pst-scrollable-table-container, .bd-article .table-wrapper, .bd-article .ln-figure";

  function markScrollable() {
    for (const box of document.querySelectorAll(SCROLLABLE)) {
      const scrolls =
        box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
      if (scrolls && !box.hasAttribute("tabindex")) {
        box.tabIndex = 0;
        box.dataset.lnScrolls = "";
      } else if (!scrolls && "lnScrolls" in box.dataset) {
        box.removeAttribute("tabindex");
        delete box.dataset.lnScrolls;
      }
    }
  }

  let pending = 0;
  function later() {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(markScrollable);
  }

  window.addEventListener("load", () => {
    const typeset = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    Promise.resolve(typeset).then(later);
    window.addEventListener("resize", later);
    // Opening a <details> shows boxes that had no size before.
    document.addEventListener("toggle", later, true);
    document.addEventListener("click", () => setTimeout(later, 50));
  });
})();
