// What moves on the pages: regions that follow the server's state, thumbnails, and pictures to save.
"use strict";
document.documentElement.classList.add("js");

// Regions: elements with an id and data-live take the newest page's content whenever the status changed.
const now = document.querySelector("[data-status]");
let seen = null, pause = 4000, timer = 0;

async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  const asked = performance.now();
  try {
    const answer = await fetch(now.dataset.status, { headers: { Accept: "application/json" } });
    if (answer.ok) {
      const text = await answer.text();
      if (seen !== null && text !== seen) { await refresh(); pause = 2000; } else pause = Math.min(pause * 1.25, 15000);
      seen = text;
    }
  } catch { pause = 15000; }  // the server is away: the page stays as it is
  // A status that takes long, as of 50,000 labels on a busy machine, is asked for the less often.
  timer = setTimeout(look, Math.max(pause, 10 * (performance.now() - asked)));
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const region of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(region.id);
    if (!fresh || region.contains(document.activeElement)) continue;
    // Thumbnails that are loaded keep their element, so that nothing flickers.
    const loaded = new Map([...region.querySelectorAll("img[data-src]")].map((image) => [image.dataset.src, image]));
    for (const image of fresh.querySelectorAll("img[data-src]")) {
      if (loaded.has(image.dataset.src)) image.replaceWith(loaded.get(image.dataset.src));
    }
    // What somebody has unfolded stays so.
    const open = [...region.querySelectorAll("details")].map((part) => part.open);
    fresh.querySelectorAll("details").forEach((part, i) => { part.open = open[i] ?? part.open; });
    region.replaceChildren(...fresh.childNodes);
  }
  thumbnails();
}

// Thumbnails: three at a time, those in view first, so that Label Studio's own requests find the server free.
const waiting = new Set();
let loading = 0;
const AGAIN = 3000;  // milliseconds until a thumbnail that did not come is asked for once more
const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) isIntersecting ? waiting.add(target) : waiting.delete(target);
  load();
}, { rootMargin: "200px" });

function load() {
  for (const image of waiting) {
    if (loading >= 3) return;
    waiting.delete(image);
    inView.unobserve(image);
    loading += 1;
    image.onload = image.onerror = ({ type }) => {
      loading -= 1;
      if (type === "error" && !image.dataset.again) {  // the server was busy: once more, in a while
        image.dataset.again = "yes";
        setTimeout(() => { waiting.add(image); load(); }, AGAIN);
      }
      load();
    };
    if (image.dataset.again) image.removeAttribute("src");  // or the same address would not be asked for
    image.src = image.dataset.src;
  }
}

// On paper all are in view: the first of them are loaded at once, whatever the server is busy with.
const PRINTED = 200;
addEventListener("beforeprint", () => {
  const blank = [...document.querySelectorAll('img[data-src][src^="data:"]')].slice(0, PRINTED);
  for (const image of blank) {
    waiting.delete(image);
    inView.unobserve(image);
    image.src = image.dataset.src;
  }
});

function thumbnails() {
  for (const image of document.querySelectorAll('img[data-src][src^="data:"]')) inView.observe(image);
}

// Pictures: the drawing with its style and its legend inside, in light colours.
const SVG = "http://www.w3.org/2000/svg";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-save]");
  if (!button) return;
  const figure = button.closest("figure"), svg = figure.querySelector("svg").cloneNode(true);
  addLegend(svg, figure.closest("section").querySelectorAll(".legend li"));
  const sheet = await (await fetch(document.querySelector('link[href*="pictures.css"]').href)).text();
  const light = sheet.replace(/@media[^{]*\{[^{}]*\{[^{}]*\}\s*\}/g, "").replace(/\.cdsel svg/g, "svg").replace(/\.cdsel/g, "svg");
  const style = document.createElementNS(SVG, "style");
  style.textContent = light;
  svg.prepend(style);
  save(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }), `${button.dataset.save}.svg`);
});

// On the page the legend stands above the drawing, in HTML.
function addLegend(svg, entries) {
  const [x, y, width, height] = svg.getAttribute("viewBox").split(" ").map(Number), line = 18;
  const add = (parent, name, attributes) => {
    const made = parent.appendChild(document.createElementNS(SVG, name));
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  entries.forEach((entry, i) => {
    const group = add(svg, "g", { class: entry.className }), top = y - line * (entries.length - i);
    if (entry.closest(".of-line")) {
      add(group, "path", { class: "path", d: `M${x + 2} ${top + 9}h16` });
      add(group, "circle", { class: "mark", cx: x + 10, cy: top + 9, r: 3.5 });
    } else add(group, "rect", { class: "bar", x: x + 4, y: top + 3, width: 12, height: 12, opacity: 0.8 });
    add(group, "text", { x: x + 22, y: top + 13 }).textContent = entry.textContent;
  });
  svg.setAttribute("viewBox", [x, y - line * entries.length, width, height + line * entries.length].join(" "));
}

// Ages grow while a page is open.
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
function ages() {
  const words = new Intl.RelativeTimeFormat("en");
  for (const one of document.querySelectorAll("time[datetime]")) {
    const ahead = (Date.parse(one.dateTime) - Date.now()) / 1000;
    const found = UNITS.find(([, size]) => Math.abs(ahead) >= size);
    one.textContent = found ? words.format(Math.trunc(ahead / found[1]), found[0]) : ahead > 0 ? "in a moment" : "just now";
  }
}
setInterval(ages, 20000);

// What is refused is shown, also where it is folded.
document.addEventListener("invalid", ({ target }) => target.closest("details")?.setAttribute("open", ""), true);

// A choice is explained as soon as it is chosen.
document.addEventListener("change", ({ target }) => {
  const words = target.selectedOptions?.[0]?.dataset.words;
  if (words) target.nextElementSibling.textContent = words;
});

// Of many names to tick, those are shown that hold what is typed; Enter must not send the form.
document.addEventListener("input", ({ target }) => {
  if (!target.matches("[data-find]")) return;
  const names = [...target.parentElement.querySelectorAll(".many .check")], wanted = target.value.trim().toLowerCase();
  for (const name of names) name.hidden = !name.textContent.toLowerCase().includes(wanted);
  const left = names.filter((name) => !name.hidden).length;
  target.nextElementSibling.textContent = wanted ? `${left.toLocaleString("en")} shown` : "";
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("[data-find]")) event.preventDefault();
});

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

thumbnails();
// On a phone the tabs scroll: the page's own is brought into view.
const tab = document.querySelector(".tabs [aria-current]");
if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - 24;
if (now) {
  look();
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
}
