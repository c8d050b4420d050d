// A slider shows one of the positions that lie ready in its figure.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll(".lmx-recorded")) {
    const slider = figure.querySelector("input");
    const shown = figure.querySelector("output");
    const positions = figure.querySelectorAll(".lmx-position");
    const show = () => {
      positions.forEach((position, number) => {
        position.hidden = number !== Number(slider.value);
      });
      const text = positions[Number(slider.value)].dataset.position;
      shown.value = text;
      slider.setAttribute("aria-valuetext", text);
    };
    slider.addEventListener("input", show);
    show(); // a browser may have kept the slider's place over a reload
  }
});
