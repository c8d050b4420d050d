// What a page needs that widgets do not bring: names for screen readers, keys, focus.
// Runs for each box of class lmx-lab, when its style sheet is there. `style` is that
// element. It only adds: without this script everything still works with a mouse.
const root = style.closest(".lmx-lab");
if (root && !root.lmxReady) {
  root.lmxReady = true;
  const every = (selector, act) => root.querySelectorAll(selector).forEach(act);
  const text = (box, selector) => box.querySelector(selector)?.textContent.trim() ?? "";
  const set = (element, name, value) => {
    if (element && element.getAttribute(name) !== value) {
      element.setAttribute(name, value);
    }
  };

  // ---- names, roles and values
  const describe = () => {
    every(".widget-slider", (slider) => {
      const [name, value] = [".widget-label", ".widget-readout"].map((part) =>
        text(slider, part)
      );
      const handle = slider.querySelector('[role="slider"]');
      const readout = slider.querySelector(".widget-readout");
      const help = slider.querySelector(".widget-label")?.title;
      set(handle, "aria-label", name);
      if (help && help !== "null") { set(handle, "aria-description", help); }
      if (readout && readout.style.display !== "none") {
        if (value) { set(handle, "aria-valuetext", value); }
        set(readout, "role", "textbox");
        set(readout, "aria-label", `${name}, as a number`);
      }
    });
    every(".widget-radio", (box) => {
      box.lmxName ??= `lmx-${Math.random().toString(36).slice(2)}`;
      set(box, "role", "radiogroup");
      set(box, "aria-label", box.querySelector(".widget-label")?.title ?? "");
      // One name makes them one group, in which the arrow keys move.
      box.querySelectorAll("input").forEach((input) => set(input, "name", box.lmxName));
    });
    every(".widget-toggle-button", (button) =>
      set(button, "aria-pressed", String(button.classList.contains("mod-active")))
    );
    every(".lmx-run-row button", (button) => {
      set(button, "aria-label", `${button.textContent.trim()}: ${button.title}`);
    });
    every(".jupyter-widget-Collapse-header", (header) => {
      const open = header.parentElement.classList.contains("jupyter-widget-Collapse-open");
      set(header, "tabindex", "0");
      set(header, "role", "button");
      set(header, "aria-expanded", String(open));
    });
    every(".widget-text, .widget-textarea, .widget-checkbox", (box) => {
      const field = box.querySelector("input, textarea");
      const label = text(box, ".widget-label, .widget-label-basic");
      if (field?.title && !label.replace(/\u200b/g, "")) {
        set(field, "aria-label", field.title);
      }
    });
    every("img[title]", (image) => set(image, "alt", image.title));
    every("button > i, .jupyter-widget-Collapse-header > i, .widget-progress", (sign) =>
      set(sign, "aria-hidden", "true")
    );
    // The region stays, and its words change: so they are read out, and once only.
    every('.lmx-message[role="status"]', (box) => box.removeAttribute("role"));
    every(".lmx-announce .widget-html-content", (region) => {
      set(region, "role", "status");
      set(region, "aria-live", "polite");
      set(region, "aria-atomic", "true");
    });
  };

  // ---- a button that disables itself hands its focus on
  const next = {start: "pause", step: "pause", pause: "start", stop: "start"};
  let last = null; // the button that had the focus
  let orphan = null; // the one that lost it
  const kind = (button) => Object.keys(next).find((k) => button.classList.contains(`lmx-${k}`));
  root.addEventListener("focusin", (event) => { last = event.target; orphan = null; });
  root.addEventListener("focusout", (event) => {
    if (event.relatedTarget) { last = null; }
  });
  const handOn = () => {
    if (last?.disabled && kind(last)) { orphan = last; }
    const nowhere = [orphan, document.body, null].includes(document.activeElement);
    if (!orphan || !orphan.disabled) { return; }
    const heir = root.querySelector(`.lmx-${next[kind(orphan)]}`);
    if (nowhere && heir && !heir.disabled) { heir.focus({preventScroll: true}); }
  };

  // ---- keys: JupyterLab and VS Code take Enter, arrows and letters for themselves, else
  const theirs = (event) => event.key === "Escape" || event.ctrlKey || event.metaKey ||
    event.altKey || (event.shiftKey && event.key === "Enter");
  root.addEventListener("keydown", (event) => {
    const header = event.target.closest(".jupyter-widget-Collapse-header");
    if (header && ["Enter", " "].includes(event.key)) {
      event.preventDefault();
      header.click();
    }
    // VS Code listens in the window, and would go on to edit the cell at Enter.
    if (event.key !== "Tab" && !theirs(event)) { event.stopPropagation(); }
  });
  if (!window.lmxKeys) {
    window.lmxKeys = true;
    const name = "data-lm-suppress-shortcuts";
    window.addEventListener("keydown", (event) => {
      const place = event.target; // JupyterLab asks the very element that has the focus
      if (!place.closest?.(".lmx-lab") || theirs(event)) { return; }
      place.setAttribute(name, "true");
      setTimeout(() => place.removeAttribute(name));
    }, {capture: true});
  }

  // ---- a click that the kernel does not answer
  const silent = root.querySelector(".lmx-silent");
  let asked = 0;
  const answered = () => {
    clearInterval(asked);
    asked = 0;
    if (silent) { silent.hidden = true; }
  };
  root.addEventListener("click", (event) => {
    if (!silent || asked || !event.target.closest(".lmx-buttons button")) { return; }
    const since = Date.now();
    asked = setInterval(() => {
      const seconds = Math.round((Date.now() - since) / 1000);
      silent.querySelector("b").textContent = seconds;
      silent.hidden = seconds < 3;
    }, 1000);
  });

  new MutationObserver((changes) => {
    if (changes.some((change) => change.target.matches?.(".lmx-line *, .lmx-line"))) {
      answered();
    }
    if (changes.some((change) => !change.target.closest?.(".lmx-line, .lmx-silent"))) {
      describe();
      handOn();
    }
  }).observe(root, {
    subtree: true, childList: true,
    attributeFilter: ["disabled", "class", "title", "aria-valuetext", "style"],
  });
  describe();
}
