// A slider shows one of the positions that lie ready in its figure.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll(".lmx-recorded")) {
    const slider = figure.querySelector("input");
    const shown = figure.querySelector("output");
    const picture = figure.querySelector("svg");
    const positions = figure.querySelectorAll(".lmx-position");
    const show = () => {
      const at = Number(slider.value);
      for (const marks of figure.querySelectorAll(".lmx-marks")) {
        marks.toggleAttribute("hidden", Number(marks.dataset.at) !== at);
      }
      positions.forEach((position, number) => {
        position.hidden = number !== at;
      });
      const { position, alt } = positions[at].dataset;
      shown.value = position;
      slider.setAttribute("aria-valuetext", position);
      picture.setAttribute("aria-label", alt);
    };
    slider.addEventListener("input", show);
    show(); // a browser may have kept the slider's place over a reload
  }
});
