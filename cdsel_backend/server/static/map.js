// The map of the pool: up to some hundred thousand dots on a canvas, written pixel by pixel.
"use strict";
const root = document.getElementById("map");
if (root) start().catch(fail);

function fail(error) {
  document.getElementById("map-wait").replaceChildren(element("p", `The map could not be drawn: ${error.message}`));
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

async function start() {
  const answer = await fetch(root.dataset.points);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const pool = read(await answer.arrayBuffer());
  if (!pool.n) throw new Error("no image is embedded");
  window.cdselMap = new PoolMap(pool);  // for whoever measures it
}

// The head's length, the head as JSON, then the arrays that it names.
function read(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const pool = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const kinds = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };
  let at = 4 + length;
  for (const named of pool.arrays) {
    const [name, kind] = named.split(":");
    pool[name] = new kinds[kind](buffer, at, pool.n);
    at += pool[name].byteLength;
  }
  return pool;
}

const number = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
const CORNERS = 80;  // of an area: it has to fit into an address
const FACTS = 5;     // variables beside an image that is pointed at
const SAID = ["label", "prediction", "doubt", "round"];
const [IN_POOL, LABELLED, OPEN] = [0, 1, 2];
const STOPS = { light: ["#c9dcf0", "#6ea6d8", "#1b6db3", "#08335e"], dark: ["#1f3c59", "#2f74b5", "#79bdf2", "#e2f2ff"] };

class PoolMap {
  constructor(pool) {
    this.pool = pool;
    this.canvas = document.getElementById("map-points");
    this.over = document.getElementById("map-over");
    this.tip = document.getElementById("map-tip");
    this.said = document.getElementById("map-said");
    this.view = { k: 1, x: 0.5, y: 0.5 };  // zoom, and the place in the middle
    this.only = new Set();                 // the levels that are shown in colour; none: all of them
    this.area = null;                      // corners of what was drawn round, in the places' own steps
    this.within = null;                    // of each image whether it lies in there
    this.at = -1;                          // the image that is pointed at
    this.marked = [...pool.state.keys()].filter((i) => pool.state[i] === LABELLED || pool.state[i] === OPEN);
    // Dots are written in a scattered order: by order of ids a late level would hide an early one.
    const step = coprime(pool.n);
    this.order = Uint32Array.from({ length: pool.n }, (_, i) => (i * step) % pool.n);
    const named = new URLSearchParams(location.search).get("colour");
    const first = Math.max(0, pool.variables.findIndex((one) => one.filter === named));
    this.choose(first);
    this.controls(first);
    document.getElementById("map-wait").remove();
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.paint(); this.legend(); });
  }

  choose(number) {
    this.variable = this.pool.variables[number];
    this.codes = this.pool[this.variable.key];
    this.only.clear();
    this.counts = this.variable.counts;  // of the whole pool, also where a part of it is drawn
    this.arrange();
    this.paint();
    this.legend();
  }

  // In which order dots are written: faint ones lie below, then what is grey, then the rest.
  arrange() {
    const { codes, order, only, within } = this, grey = this.variable.grey, n = order.length;
    const chosen = Uint8Array.from({ length: this.variable.levels.length }, (_, i) => !only.size || only.has(i));
    const layer = new Uint8Array(n), starts = [0, 0, 0];
    for (let i = 0; i < n; i++) {
      layer[i] = !chosen[codes[i]] || (within && !within[i]) ? 0 : codes[i] === grey && !only.size ? 1 : 2;
      starts[layer[i]] += 1;
    }
    [this.faintly, this.listed] = [starts[0], n - starts[0]];
    [starts[0], starts[1], starts[2]] = [0, starts[0], starts[0] + starts[1]];
    this.layer = layer;
    this.written = new Uint32Array(n);
    for (const i of order) this.written[starts[layer[i]]++] = i;
    this.link();
  }

  paint() {
    const { levels, grey, ordered } = this.variable;
    // Colours that depend on light or dark are only resolved where they are used as a colour.
    const probe = document.body.appendChild(element("i"));
    const resolve = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
    const steps = STOPS[matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"];
    const coloured = levels.length - (grey === undefined ? 0 : 1);
    this.colours = levels.map((_, i) => {
      if (i === grey || levels[i] === "(missing)") return resolve("grey");
      return ordered || coloured > 10 ? between(steps, coloured > 1 ? i / (coloured - 1) : 1) : resolve(`c${i}`);
    });
    [this.faint, this.ink, this.card] = ["grey", "ink", "card"].map(resolve);
    probe.remove();
    if (this.width) this.draw();
  }

  resize() {
    const box = this.canvas.getBoundingClientRect(), ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (!box.width || !box.height) return;  // not laid out, as while a page is left
    this.width = Math.round(box.width * ratio);
    this.height = Math.round(box.height * ratio);
    this.ratio = ratio;
    for (const canvas of [this.canvas, this.over]) { canvas.width = this.width; canvas.height = this.height; }
    this.draw();
  }

  get scale() { return Math.min(this.width, this.height) * this.view.k / 65535; }
  px(i) { return this.width / 2 + (this.pool.x[i] - this.view.x * 65535) * this.scale; }
  py(i) { return this.height / 2 - (this.pool.y[i] - this.view.y * 65535) * this.scale; }

  draw() {
    const { width, height, pool, codes, written, faintly } = this, { x, y } = pool, context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    const radius = Math.max(1, (pool.n > 30000 ? 1 : pool.n > 5000 ? 1.6 : 2.4) * this.ratio * Math.min(2, Math.sqrt(this.view.k)));
    const stamp = disc(radius), colours = Uint32Array.from(this.colours, word), faint = word(this.faint), reach = Math.ceil(radius);
    const cx = width / 2 - this.view.x * 65535 * this.scale, cy = height / 2 + this.view.y * 65535 * this.scale, scale = this.scale;
    const steps = new Int32Array(stamp.length / 2);
    for (let s = 0; s < steps.length; s++) steps[s] = stamp[2 * s + 1] * width + stamp[2 * s];
    for (let at = 0; at < written.length; at++) {
      const i = written[at], a = Math.round(cx + x[i] * scale), b = Math.round(cy - y[i] * scale);
      const colour = at < faintly ? faint : colours[codes[i]];
      if (a >= reach && a < width - reach && b >= reach && b < height - reach) {
        const middle = b * width + a;
        for (let s = 0; s < steps.length; s++) pixels[middle + steps[s]] = colour;
      } else if (a >= -reach && a < width + reach && b >= -reach && b < height + reach) {
        for (let s = 0; s < stamp.length; s += 2) {
          const p = a + stamp[s], q = b + stamp[s + 1];
          if (p >= 0 && p < width && q >= 0 && q < height) pixels[q * width + p] = colour;
        }
      }
    }
    const grey = this.variable.grey;
    context.putImageData(image, 0, 0);
    for (const i of this.marked) {
      if (!this.layer[i]) continue;
      const a = cx + x[i] * scale, b = cy - y[i] * scale;
      if (a < -9 || a > width + 9 || b < -9 || b > height + 9) continue;
      context.beginPath();
      context.arc(a, b, 3.6 * this.ratio, 0, 7);
      context.lineWidth = 2 * this.ratio;
      if (pool.state[i] === LABELLED) {
        context.fillStyle = codes[i] === grey ? this.ink : this.colours[codes[i]];
        context.strokeStyle = this.ink;
        context.lineWidth = 1.3 * this.ratio;
        context.fill();
      } else {
        context.fillStyle = this.card;
        context.fill();
        context.strokeStyle = codes[i] === grey ? this.ink : this.colours[codes[i]];
      }
      context.stroke();
    }
    this.point(this.at, false);
    this.canvas.dataset.drawn = Math.round(performance.now());
  }

  // The legend, which also picks one level.
  legend() {
    document.getElementById("map-title").textContent = this.variable.name;
    document.getElementById("map-note").textContent = [
      this.variable.note && `Verdict: ${this.variable.note}`,
      this.pool.n < this.pool.total && `An even sample is drawn: ${number(this.pool.n)} of ${number(this.pool.total)} images, and among them all that are labelled or selected. The numbers count all images, and so does a list in the gallery.`,
    ].filter(Boolean).join(". ");
    const list = document.getElementById("map-levels");
    list.replaceChildren(...this.variable.levels.map((level, i) => {
      const button = element("button", undefined, { type: "button", "aria-pressed": this.only.has(i) });
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("width", "14"); svg.setAttribute("height", "14"); svg.setAttribute("aria-hidden", "true");
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      for (const [key, value] of [["cx", 7], ["cy", 7], ["r", 6], ["fill", this.colours[i]]]) dot.setAttribute(key, value);
      svg.append(dot);
      button.append(svg, element("span", level), element("b", number(this.counts[i])));
      button.addEventListener("click", () => {
        if (!this.only.delete(i)) this.only.add(i);
        button.setAttribute("aria-pressed", this.only.has(i));
        this.arrange();
        this.draw();
      });
      const item = element("li");
      item.append(button);
      return item;
    }));
  }

  // What the gallery is to list: the levels that are chosen and the area that is drawn round, as its address holds them.
  link() {
    const query = new URLSearchParams(), { variable, only, area } = this, link = document.getElementById("map-list");
    for (const i of only) query.append(variable.filter, variable.levels[i]);
    if (area) query.append("area", area.flat().join(","));
    link.href = root.dataset.gallery + (query.size ? `?${query}` : "");
    const whole = this.pool.n === this.pool.total;
    link.textContent = !only.size && !area ? "List all images" : whole ? `List ${number(this.listed)} image${this.listed === 1 ? "" : "s"}` : "List these images";
    document.getElementById("map-clear").hidden = !area && !only.size;
  }

  // Take what lies within corners on the canvas, in its pixels; none: everything.
  enclose(corners) {
    const { x, y } = this.pool;
    this.area = corners && corners.map(([a, b]) => [
      Math.round((a - this.width / 2) / this.scale + this.view.x * 65535),
      Math.round(this.view.y * 65535 - (b - this.height / 2) / this.scale),
    ].map((place) => Math.min(65536, Math.max(-1, place))));
    this.within = this.area && inside(x, y, this.area);
    this.arrange();
    this.soon();
  }

  lasso(on) {
    this.drawing = on ? [] : null;
    document.getElementById("map-lasso").setAttribute("aria-pressed", on);
    this.canvas.classList.toggle("drawing", on);
  }

  clear() {
    this.only.clear();
    this.area = this.within = null;
    this.lasso(false);
    this.arrange();
    this.legend();
    this.draw();
  }

  controls(first) {
    const select = document.getElementById("map-colour"), save = document.getElementById("map-save");
    const groups = new Map();
    for (const [i, one] of this.pool.variables.entries()) {
      const group = one.filter.startsWith("variable.") ? "Variables of the metadata" : "Labels, model and queue";
      if (!groups.has(group)) groups.set(group, element("optgroup", undefined, { label: group }));
      groups.get(group).append(element("option", group.startsWith("V") && one.note ? `${one.name} (${one.note})` : one.name, { value: i }));
    }
    select.replaceChildren(...groups.values());
    select.value = first;
    for (const id of ["map-lasso", "map-view"]) document.getElementById(id).disabled = false;
    select.disabled = save.disabled = false;
    select.addEventListener("change", () => {
      this.choose(Number(select.value));
      history.replaceState(null, "", `?${new URLSearchParams({ colour: this.variable.filter })}`);
    });
    document.getElementById("map-lasso").addEventListener("click", () => this.lasso(!this.drawing));
    document.getElementById("map-view").addEventListener("click", () => this.takeView());
    document.getElementById("map-clear").addEventListener("click", () => this.clear());
    save.addEventListener("click", () => this.save());
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => this.zoom(Number(button.dataset.zoom)));
    }
    const { canvas } = this;
    let from = null, moved = false;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.drawing) return;
      canvas.setPointerCapture(event.pointerId);
      this.drawing = [[event.offsetX * this.ratio, event.offsetY * this.ratio]];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.drawing?.length || !event.buttons) return;
      const [a, b] = this.drawing.at(-1), next = [event.offsetX * this.ratio, event.offsetY * this.ratio];
      if (Math.hypot(next[0] - a, next[1] - b) > 4 * this.ratio) { this.drawing.push(next); this.ring(); }
    });
    canvas.addEventListener("pointerup", () => {
      if (!this.drawing) return;
      if (this.drawing.length > 2) this.enclose(thinned(this.drawing, CORNERS));
      this.lasso(false);
      this.ring();
      document.getElementById("map-said").textContent = document.getElementById("map-list").textContent;
    });
    canvas.addEventListener("pointerdown", (event) => { from = this.drawing ? null : { x: event.offsetX, y: event.offsetY }; moved = false; });
    canvas.addEventListener("pointermove", (event) => {
      if (this.drawing) return;
      if (from && event.buttons) {
        const dx = event.offsetX - from.x, dy = event.offsetY - from.y;
        if (!moved && Math.hypot(dx, dy) < 4) return;
        if (!moved) canvas.setPointerCapture(event.pointerId);
        moved = true;
        from = { x: event.offsetX, y: event.offsetY };
        this.view.x -= dx * this.ratio / this.scale / 65535;
        this.view.y += dy * this.ratio / this.scale / 65535;
        this.soon();
      } else if (!this.tip.classList.contains("pinned")) this.point(this.nearest(event.offsetX, event.offsetY), false);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (from && !moved) this.point(this.nearest(event.offsetX, event.offsetY), true);
      from = null;
    });
    canvas.addEventListener("pointerleave", () => { if (!this.tip.classList.contains("pinned")) this.point(-1, false); });
    canvas.addEventListener("wheel", (event) => {
      // Without a modifier the page scrolls: a map must not swallow that.
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in ways) this.point(this.toward(...ways[event.key]), true);
    else if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key === "0") this.zoom(0);
    else if (event.key.toLowerCase() === "m" && this.marked.length) this.point(this.marked[(this.marked.indexOf(this.at) + 1) % this.marked.length], true);
    else if (event.key.toLowerCase() === "l") this.takeView();
    else if (event.key === "Escape") { this.point(-1, false); this.lasso(false); this.ring(); }
    else return;
    event.preventDefault();
  }

  // The lasso without a pointer: what is in view.
  takeView() {
    this.lasso(false);
    this.enclose([[0, 0], [this.width, 0], [this.width, this.height], [0, this.height]]);
    this.said.textContent = document.getElementById("map-list").textContent;
  }

  zoom(by, x = this.width / 2 / this.ratio, y = this.height / 2 / this.ratio) {
    if (!by) this.view = { k: 1, x: 0.5, y: 0.5 };
    else {
      const k = Math.min(60, Math.max(1, this.view.k * by)), change = 1 - this.view.k / k;
      this.view.x += (x * this.ratio - this.width / 2) / this.scale / 65535 * change;
      this.view.y -= (y * this.ratio - this.height / 2) / this.scale / 65535 * change;
      this.view.k = k;
    }
    this.soon();
  }

  soon() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  shown(i) { return this.layer[i] > 0; }

  nearest(x, y) {
    x *= this.ratio; y *= this.ratio;
    const { pool, layer, scale } = this, ax = this.width / 2 - this.view.x * 65535 * scale - x, ay = this.height / 2 + this.view.y * 65535 * scale - y;
    let best = -1, least = (14 * this.ratio) ** 2;
    for (let i = 0; i < pool.n; i++) {
      const a = ax + pool.x[i] * scale, b = ay - pool.y[i] * scale, d = a * a + b * b;
      if (d < least && layer[i]) { least = d; best = i; }
    }
    return best;
  }

  // The nearest image within 45 degrees of a direction.
  toward(dx, dy) {
    if (this.at < 0) return this.nearest(this.width / 2 / this.ratio, this.height / 2 / this.ratio) >= 0
      ? this.nearest(this.width / 2 / this.ratio, this.height / 2 / this.ratio) : this.order.find((i) => this.shown(i)) ?? -1;
    const x = this.px(this.at), y = this.py(this.at);
    let best = this.at, least = Infinity;
    for (let i = 0; i < this.pool.n; i++) {
      const a = this.px(i) - x, b = this.py(i) - y, along = a * dx + b * dy;
      if (along <= 0 || Math.abs(a * dy + b * dx) > along || !this.shown(i)) continue;
      const d = a * a + b * b;
      if (d < least && d > 0) { least = d; best = i; }
    }
    return best;
  }

  // What lies over the dots: a ring round the image that is pointed at, and what is or was drawn round.
  ring() {
    const context = this.over.getContext("2d"), { at, area, drawing, ratio } = this;
    context.clearRect(0, 0, this.width, this.height);
    context.strokeStyle = this.ink;
    context.lineWidth = 2.5 * ratio;
    if (at >= 0) {
      context.beginPath();
      context.arc(this.px(at), this.py(at), 8 * ratio, 0, 7);
      context.stroke();
    }
    const line = drawing?.length ? drawing : area?.map(([x, y]) => [
      this.width / 2 + (x - this.view.x * 65535) * this.scale, this.height / 2 - (y - this.view.y * 65535) * this.scale,
    ]);
    if (!line) return;
    context.beginPath();
    for (const [a, b] of line) context.lineTo(a, b);
    context.closePath();
    context.lineWidth = 2 * ratio;
    context.setLineDash([6 * ratio, 4 * ratio]);
    context.stroke();
    context.setLineDash([]);
  }

  // Point at an image: a ring round it and its facts beside it; pinned, it stays and can be clicked.
  point(i, pinned) {
    const same = i === this.at;
    this.at = i;
    this.tip.hidden = i < 0;
    this.ring();
    if (i < 0) { this.tip.classList.remove("pinned"); return; }
    if (pinned) this.tip.classList.add("pinned");
    if (!same || !this.tip.childElementCount) this.describe(i);
    const box = this.tip.parentElement.getBoundingClientRect(), x = this.px(i) / this.ratio, y = this.py(i) / this.ratio;
    const left = x + 16 + this.tip.offsetWidth < box.width ? x + 16 : x - 16 - this.tip.offsetWidth;
    const top = Math.min(Math.max(8, y - 60), box.height - this.tip.offsetHeight - 8);
    this.tip.style.transform = `translate(${Math.round(Math.max(8, Math.min(left, box.width - this.tip.offsetWidth - 8)))}px, ${Math.round(Math.max(8, top))}px)`;
  }

  describe(i) {
    const { pool } = this, facts = element("dl");
    const values = [], own = pool.variables.filter((one) => one.filter.startsWith("variable.")).slice(0, FACTS);
    for (const one of [...own, ...pool.variables.filter((one) => SAID.includes(one.filter)), this.variable]) {
      const code = pool[one.key][i];
      if (code !== one.grey && !values.some(([name]) => name === one.name)) values.push([one.name, one.levels[code]]);
    }
    values.push(["state", pool.states[pool.state[i]]]);
    for (const [name, value] of values) facts.append(element("dt", name), element("dd", value));
    const whole = element("a", "Whole image", { href: root.dataset.image.replace(/0$/, pool.id[i]) });
    const image = element("img", undefined, { alt: "", width: 224, height: 144 }), links = element("p");
    // Of a pool outside Label Studio no task there has this number.
    if (root.dataset.task) links.append(element("a", `Task ${pool.task[i]} in Label Studio`, { href: root.dataset.task + pool.task[i] }), element("br"));
    links.append(whole);
    this.tip.replaceChildren(image, facts, links);
    // Running over the map must not ask for every image on the way.
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { image.src = root.dataset.thumbnail.replace(/0$/, pool.id[i]); }, 120);
    this.said.textContent = `Task ${pool.task[i]}: ${values.map((pair) => pair.join(" ")).join(", ")}`;
  }

  save() {
    const sheet = document.createElement("canvas"), context = sheet.getContext("2d"), gap = 16 * this.ratio;
    sheet.width = this.width + 260 * this.ratio;
    sheet.height = this.height;
    context.fillStyle = this.card;
    context.fillRect(0, 0, sheet.width, sheet.height);
    context.drawImage(this.canvas, 0, 0);
    context.font = `${13 * this.ratio}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const words = [this.variable.name, ...this.variable.levels], left = this.width + gap;
    let y = gap * 1.5;
    const line = (text, radius, fill, edge) => {
      context.beginPath();
      context.arc(left, y, radius * this.ratio, 0, 7);
      context.lineWidth = 2 * this.ratio;
      if (fill) { context.fillStyle = fill; context.fill(); }
      if (edge) { context.strokeStyle = edge; context.stroke(); }
      context.fillStyle = this.ink;
      context.fillText(text, left + (radius ? gap * 0.8 : -5 * this.ratio), y);  // the title has no dot
      y += 22 * this.ratio;
    };
    for (const [i, text] of words.entries()) line(i ? `${text} (${this.counts[i - 1]})` : text, i ? 5 : 0, i ? this.colours[i - 1] : null);
    y += gap;
    line("labelled", 5, this.ink);
    line("with the annotators", 5, null, this.ink);
    line("not chosen yet", 2, this.ink);
    sheet.toBlob((blob) => save(blob, `map ${this.variable.name}.png`));
  }
}

// A line with fewer corners, evenly.
function thinned(line, most) {
  const step = Math.max(1, line.length / most);
  return Array.from({ length: Math.min(most, line.length) }, (_, i) => line[Math.floor(i * step)]);
}

// Which places lie in a polygon, by the number of edges to their right; as the server finds them.
function inside(x, y, corners) {
  const found = new Uint8Array(x.length);
  const lows = [0, 1].map((axis) => Math.min(...corners.map((one) => one[axis])));
  const highs = [0, 1].map((axis) => Math.max(...corners.map((one) => one[axis])));
  for (let i = 0; i < x.length; i++) {
    const a = x[i], b = y[i];
    if (a < lows[0] || a > highs[0] || b < lows[1] || b > highs[1]) continue;
    let odd = 0;
    for (let at = 0, last = corners.length - 1; at < corners.length; last = at++) {
      const [x1, y1] = corners[last], [x2, y2] = corners[at];
      if ((y1 > b) !== (y2 > b) && a < ((x2 - x1) * (b - y1)) / (y2 - y1) + x1) odd ^= 1;
    }
    found[i] = odd;
  }
  return found;
}

function coprime(n) {
  const gcd = (a, b) => (b ? gcd(b, a % b) : a);
  let step = Math.max(1, Math.floor(n * 0.618));
  while (gcd(step, n) !== 1) step += 1;
  return step;
}

// Offsets of the pixels within a radius.
function disc(radius) {
  const found = [], reach = Math.ceil(radius);
  for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) if (x * x + y * y <= radius * radius + 0.5) found.push(x, y);
  return Int16Array.from(found);
}

// A CSS colour as the pixel that little-endian image data holds.
function word(colour) {
  const [r, g, b] = rgb(colour);
  return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
}

function rgb(colour) {
  if (colour.startsWith("#")) return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return colour.match(/[\d.]+/g).slice(0, 3).map(Number);
}

function between(stops, share) {
  const place = Math.min(share * (stops.length - 1), stops.length - 1.000001), low = Math.floor(place);
  const [a, b] = [rgb(stops[low]), rgb(stops[low + 1])];
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * (place - low))).join(", ")})`;
}
