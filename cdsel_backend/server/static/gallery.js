// The gallery and its images: keys from image to image, ticking many at once, and filters that apply when chosen.
"use strict";
const steps = { ArrowLeft: "a[rel=prev]", ArrowRight: "a[rel=next]", Escape: "a[data-up]" };

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest("input, select, textarea, summary")) return;
  const link = steps[event.key] && document.querySelector(steps[event.key]);
  if (!link) return;
  event.preventDefault();
  link.click();
});

const filters = document.getElementById("filters");
if (filters) {
  const send = () => {
    // Only what is set goes into the address.
    for (const field of filters.elements) {
      if (field.name && (field.value === "" || (field.name === "order" && field.value === "task"))) field.disabled = true;
    }
  };
  filters.addEventListener("submit", send);
  filters.addEventListener("change", ({ target }) => { if (target.tagName === "SELECT") filters.requestSubmit(); });
  // Back from another page, what was disabled can be chosen again.
  addEventListener("pageshow", () => { for (const field of filters.elements) field.disabled = false; });
}

const images = document.getElementById("images");
if (images) {
  const every = document.getElementById("every"), scope = document.getElementById("scope");
  const boxes = [...images.querySelectorAll('input[name="item"]')];
  const buttons = [...images.querySelectorAll("button[name=action]")];
  const show = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    every.checked = ticked === boxes.length;
    every.indeterminate = ticked > 0 && ticked < boxes.length;
    scope.options[0].textContent = ticked ? `the ${ticked} ticked image${ticked > 1 ? "s" : ""}` : "the ticked images";
    for (const button of buttons) button.disabled = scope.value === "ticked" && !ticked;
  };
  every.addEventListener("change", () => { for (const box of boxes) box.checked = every.checked; show(); });
  images.addEventListener("change", show);
  addEventListener("pageshow", show);
  show();
}
