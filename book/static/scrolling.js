// What is wider than its box fades where it goes on; the contents keep up with the page.
document.addEventListener("DOMContentLoaded", () => {
  const mark = (box) => {
    const hidden = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.classList.toggle("lmx-more", hidden > 1);
  };
  const seen = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      // An equation is set later, into a box of its own that scrolls.
      const box = target.querySelector(":scope > mjx-container") ?? target;
      box.onscroll = () => mark(box);
      mark(box);
    }
  });
  const boxes = document.querySelectorAll(
    ".bd-article :is(table, pre, .cell_output, .lmx-panel, div.math)",
  );
  boxes.forEach((box) => seen.observe(box));

  const contents = document.querySelector(".bd-sidebar-secondary");
  const follow = () => {
    const entry = [...contents.querySelectorAll(".nav-link.active")].pop();
    const around = contents.getBoundingClientRect();
    const { top, bottom } = entry?.getBoundingClientRect() ?? around;
    if (top < around.top || bottom > around.bottom) {
      contents.scrollTop += top - around.top - around.height / 3;
    }
  };
  if (contents) {
    const classes = { subtree: true, attributeFilter: ["class"] };
    new MutationObserver(follow).observe(contents, classes);
  }
});
