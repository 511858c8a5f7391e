// A small line over time, with its newest value in words.

import { el } from "./format.js";

const KEPT_MS = 300000;
const WIDTH = 300, HEIGHT = 80, PAD = 4;
const SVG = "http://www.w3.org/2000/svg";

export class Chart {
  #points = []; #path; #value; #note; #format; #zero;

  // `format` of a value; `zero`: the axis begins there.
  constructor(parent, title, format, zero = true) {
    this.#format = format;
    this.#zero = zero;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    this.#path = document.createElementNS(SVG, "path");
    svg.append(this.#path);
    this.#value = el("b", {}, "–");
    this.#note = el("p", { className: "note" });
    parent.append(el("section", { className: "card chart", ariaLabel: title },
      el("div", { className: "row spread" }, el("h3", {}, title), this.#value), svg, this.#note));
  }

  add(value, now = Date.now()) {
    if (value == null || Number.isNaN(value)) return;
    this.#points.push([now, value]);
    while (this.#points[0][0] < now - KEPT_MS) this.#points.shift();
    const values = this.#points.map(([, v]) => v);
    const low = this.#zero ? 0 : Math.min(...values), high = Math.max(...values, low + 1e-9);
    const from = this.#points[0][0], span = Math.max(1, now - from);
    const x = (t) => (((t - from) / span) * WIDTH).toFixed(1);
    const y = (v) => (HEIGHT - PAD - ((v - low) / (high - low)) * (HEIGHT - 2 * PAD)).toFixed(1);
    this.#path.setAttribute("d", this.#points.map(([t, v], k) => `${k ? "L" : "M"}${x(t)} ${y(v)}`).join(""));
    this.#value.textContent = this.#format(value);
    this.#note.textContent = `${this.#format(Math.min(...values))} to ${this.#format(high)} `
      + `in the last ${Math.max(1, Math.round(span / 60000))} min`;
  }
}
